/// A value that counts as another one when JSON Schema says so: 1 is 1.0, and the order of members says nothing.
struct Distinct: Hashable {
    private let value: JSONValue

    init(_ value: JSONValue) { self.value = value }

    static func == (left: Distinct, right: Distinct) -> Bool { left.value.isSame(as: right.value) }

    func hash(into hasher: inout Hasher) { value.hash(into: &hasher) }
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

    fileprivate func hash(into hasher: inout Hasher) {
        switch self {
        case .null: hasher.combine(0)
        case .bool(let flag): hasher.combine(flag)
        // By all of its digits: of what lies close together, or next to zero, any number has the same nearest `Double`.
        case .integer, .decimal: Magnitude(self).hash(into: &hasher)
        case .string(let text): ExactText(text).hash(into: &hasher)
        case .array(let elements):
            hasher.combine(elements.count)
            for element in elements { element.hash(into: &hasher) }
        case .object(let members):
            hasher.combine(members.count)
            var sum = 0
            for member in members {
                var inner = Hasher()
                ExactText(member.key).hash(into: &inner)
                member.value.hash(into: &inner)
                sum &+= inner.finalize()
            }
            hasher.combine(sum)
        }
    }
}

/// A number exactly, however it is written: its digits without zeros at their ends, and where the point stands.
private struct Magnitude: Hashable {
    private var isNegative = false
    private var digits: [UInt8] = []
    private var exponent = 0

    init(_ value: JSONValue) {
        var text = value.bytes[...]
        if text.first == UInt8(ascii: "-") {
            isNegative = true
            text = text.dropFirst()
        }
        let mantissa = text.prefix { $0 | 0x20 != UInt8(ascii: "e") }
        // A power beyond these belongs to a zero: anything else would be out of range.
        let power = min(
            max(Int(String(decoding: text.dropFirst(mantissa.count + 1), as: UTF8.self)) ?? 0, -1 << 40), 1 << 40)
        let parts = mantissa.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        digits = Array(parts.joined())
        exponent = power - (parts.count > 1 ? parts[1].count : 0)
        while digits.last == UInt8(ascii: "0") {
            digits.removeLast()
            exponent += 1
        }
        digits = Array(digits.drop { $0 == UInt8(ascii: "0") })
        if digits.isEmpty { (isNegative, exponent) = (false, 0) }
    }
}
