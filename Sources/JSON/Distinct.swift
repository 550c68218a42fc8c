/// A list of which no item is to be there twice, as JSON Schema has it: 1 is 1.0, and the order of members says nothing. Looked
/// at item by item, so that whoever does can stop.
struct DistinctItems {
    private let items: [JSONValue]
    /// Of those that were looked at.
    private var hashes: [Int] = []
    /// Numbers of items, each at the first free place from its hash on; -1: free. Half of them stay so.
    private var places: [Int32]
    private(set) var isRepeated = false

    init(_ items: [JSONValue]) {
        self.items = items
        var room = 4
        while room < items.count * 2 { room *= 2 }
        places = Array(repeating: -1, count: room)
        hashes.reserveCapacity(items.count)
    }

    /// Looks at the next item.
    ///
    /// - Returns: What that has cost; nil: they are all known, or one is there twice.
    mutating func addNext(bytesAStep: Int) -> Int? {
        guard hashes.count < items.count, !isRepeated else { return nil }
        let item = items[hashes.count]
        var hasher = Hasher()
        let cost = item.hash(into: &hasher, bytesAStep: bytesAStep)
        let hash = hasher.finalize()
        var place = hash & (places.count - 1)
        while places[place] >= 0 {
            let other = Int(places[place])
            if hashes[other] == hash, items[other].isSame(as: item) {
                isRepeated = true
                return cost
            }
            place = (place + 1) & (places.count - 1)
        }
        places[place] = Int32(truncatingIfNeeded: hashes.count)
        hashes.append(hash)
        return cost
    }
}

extension JSONValue {
    /// Members are looked through up to so many; more are hashed.
    private static let few = 8

    /// Equal as JSON Schema has it.
    func isSame(as other: JSONValue) -> Bool {
        switch (self, other) {
        case (.null, .null): true
        case (.bool(let left), .bool(let right)): left == right
        case (.integer(let left), .integer(let right)): left == right
        case (.decimal(let left), .decimal(let right)) where left == right: true
        case (.integer, .decimal), (.decimal, .integer), (.decimal, .decimal):
            number == other.number && Magnitude(self) == Magnitude(other)
        case (.string(let left), .string(let right)): left.isExactly(right)
        case (.array(let left), .array(let right)):
            left.count == right.count && zip(left, right).allSatisfy { $0.isSame(as: $1) }
        case (.object(let left), .object(let right)): left.count == right.count && Self.same(left, other, right)
        case (.null, _), (.bool, _), (.integer, _), (.decimal, _), (.string, _), (.array, _), (.object, _): false
        }
    }

    private static func same(_ left: [Member], _ other: JSONValue, _ right: [Member]) -> Bool {
        guard right.count > few else {
            return left.allSatisfy { member in other[member.key].map { member.value.isSame(as: $0) } ?? false }
        }
        // Names do not repeat: the reader saw to that.
        let values = Dictionary(right.map { (ExactText($0.key), $0.value) }, uniquingKeysWith: { first, _ in first })
        return left.allSatisfy { member in values[ExactText(member.key)].map { member.value.isSame(as: $0) } ?? false }
    }

    /// - Returns: In steps, what that has cost.
    fileprivate func hash(into hasher: inout Hasher, bytesAStep: Int) -> Int {
        switch self {
        case .null: hasher.combine(0)
        case .bool(let flag): hasher.combine(flag)
        // By all of its digits: of what lies close together, or next to zero, any number has the same nearest `Double`.
        case .integer: Magnitude(self).hash(into: &hasher)
        case .decimal(let text):
            Magnitude(self).hash(into: &hasher)
            return 2 + text.utf8.count * 16 / bytesAStep
        case .string(let text):
            ExactText(text).hash(into: &hasher)
            return 1 + text.utf8.count / bytesAStep
        case .array(let elements):
            hasher.combine(elements.count)
            return elements.reduce(2) { $0 + $1.hash(into: &hasher, bytesAStep: bytesAStep) }
        case .object(let members):
            hasher.combine(members.count)
            var (sum, cost) = (0, 1)
            for member in members {
                var inner = Hasher()
                ExactText(member.key).hash(into: &inner)
                cost += 4 + member.key.utf8.count / bytesAStep
                cost += member.value.hash(into: &inner, bytesAStep: bytesAStep)
                sum &+= inner.finalize()
            }
            hasher.combine(sum)
            return cost
        }
        return 1
    }

    /// In steps, what it may cost at most to find out whether another value is the same, besides one.
    func costToCompare(with other: JSONValue, bytesAStep: Int) -> Int {
        switch (self, other) {
        case (.string(let text), .string(let other)):
            text.utf8.count == other.utf8.count ? text.utf8.count / bytesAStep : 0
        case (.decimal(let text), .decimal(let other)): 6 + (text.utf8.count + other.utf8.count) * 8 / bytesAStep
        case (.decimal(let text), .integer), (.integer, .decimal(let text)): 6 + text.utf8.count * 8 / bytesAStep
        case (.array(let elements), .array(let others)) where elements.count == others.count:
            zip(elements, others).reduce(0) { $0 + 2 + $1.0.costToCompare(with: $1.1, bytesAStep: bytesAStep) }
        case (.object(let members), .object(let others)) where members.count == others.count:
            members.reduce(0) { $0 + 8 + $1.value.weight(bytesAStep) }
        case (.null, _), (.bool, _), (.integer, _), (.decimal, _), (.string, _), (.array, _), (.object, _): 0
        }
    }

    private func weight(_ bytesAStep: Int) -> Int {
        switch self {
        case .null, .bool, .integer: 1
        case .decimal(let text), .string(let text): 1 + text.utf8.count / bytesAStep
        case .array(let elements): elements.reduce(1) { $0 + $1.weight(bytesAStep) }
        case .object(let members): members.reduce(1) { $0 + 4 + $1.value.weight(bytesAStep) }
        }
    }
}

/// A number exactly, however it is written: its digits without zeros at their ends, and where the point stands.
private struct Magnitude: Hashable {
    private var isNegative = false
    /// The digits as one number, as long as that is one of 64 bits: most are, and no list is made of them.
    private var short: UInt64 = 0
    /// Where they are more: one by one.
    private var digits: [UInt8] = []
    private var exponent = 0

    init(_ value: JSONValue) {
        switch value {
        case .integer(let number): read(number)
        case .decimal(var text): text.withUTF8 { read($0) }
        case .null, .bool, .string, .array, .object: break
        }
    }

    private mutating func read(_ number: Int) {
        isNegative = number < 0
        short = UInt64(number.magnitude)
        while short != 0, short % 10 == 0 {
            short /= 10
            exponent += 1
        }
    }

    private mutating func read(_ text: UnsafeBufferPointer<UInt8>) {
        var index = 0
        if text.first == UInt8(ascii: "-") {
            isNegative = true
            index = 1
        }
        // Those that may stand at the end say nothing by themselves.
        var (zeros, isFraction) = (0, false)
        while index < text.count, text[index] | 0x20 != UInt8(ascii: "e") {
            let byte = text[index]
            index += 1
            if byte == UInt8(ascii: ".") {
                isFraction = true
                continue
            }
            if isFraction { exponent -= 1 }
            if byte == UInt8(ascii: "0") {
                zeros += 1
                continue
            }
            if short != 0 || !digits.isEmpty {
                for _ in 0..<zeros { add(0, room: text.count) }
            }
            zeros = 0
            add(byte - UInt8(ascii: "0"), room: text.count)
        }
        guard short != 0 || !digits.isEmpty else {
            (isNegative, exponent) = (false, 0)
            return
        }
        // A power beyond these belongs to a zero: anything else would be out of range.
        let power = Int(String(decoding: text[index...].dropFirst(), as: UTF8.self)) ?? 0
        exponent += zeros + min(max(power, -1 << 40), 1 << 40)
    }

    private mutating func add(_ digit: UInt8, room: Int) {
        if digits.isEmpty {
            let (tens, isLong) = short.multipliedReportingOverflow(by: 10)
            let (sum, isLonger) = tens.addingReportingOverflow(UInt64(digit))
            if !isLong, !isLonger {
                short = sum
                return
            }
            digits.reserveCapacity(room)
            for byte in String(short).utf8 { digits.append(byte - UInt8(ascii: "0")) }
            short = 0
        }
        digits.append(digit)
    }
}
