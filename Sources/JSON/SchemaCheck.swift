/// One look at whether a value fits a schema, within a bounded number of steps: alternatives of alternatives can take more
/// than there is time, for a value of a few bytes.
struct SchemaCheck {
    /// Enough for a value of a mebibyte and a schema without alternatives, and some 20 ms: a step is what takes 20 ns.
    private static let mostSteps = 1_000_000
    /// What an alternative costs besides its check.
    private static let alternativeSteps = 1
    /// What it costs to find out whether an item is there already, besides looking at it.
    private static let itemSteps = 3
    /// To look for a name among those that a schema knows, or that are required.
    private static let nameSteps = (known: 3, required: 8)
    /// To read a number that is no whole one of 64 bits, which takes the longer the more digits it has.
    private static let decimalSteps = (each: 2, digits: 16)
    /// Of a text so many bytes are looked at in a step.
    private static let bytesAStep = 32
    /// More violations than this help nobody.
    private static let mostFound = 100
    /// Of unknown members so many are told what may have been meant.
    private static let mostSuggested = 5
    /// Of what would be allowed so many bytes are told.
    private static let longestChoices = 1024
    /// How often alternatives and references may lead to others before a step into the value.
    private static let deepest = 64

    private enum Step {
        case member(String)
        case element(Int)
    }

    private var steps = mostSteps
    private var suggestions = 0
    private var found: [SchemaViolation] = []
    /// Whether an alternative is tried out: then nobody asks what is wrong, but whether anything is.
    private var isTrial = false
    private var isMisfit = false
    /// Where in the value we are.
    private var path: [Step] = []

    var outcome: [SchemaViolation] {
        guard steps <= 0 else { return found }
        return [
            SchemaViolation(
                pointer: "", detail: "is too costly to check: it has too many alternatives, or items that must differ")
        ]
    }

    /// Whether nothing more can come of it.
    private var isOver: Bool { steps <= 0 || isMisfit }

    private var pointer: String {
        path.reduce(into: "") { pointer, step in
            switch step {
            case .member(let name): pointer += "/" + escapedPointer(name)
            case .element(let index): pointer += "/\(index)"
            }
        }
    }

    private mutating func fail(_ detail: @autoclosure () -> String) {
        if isTrial {
            isMisfit = true
            return
        }
        guard found.count < Self.mostFound else { return }
        found.append(SchemaViolation(pointer: pointer, detail: detail()))
    }

    // MARK: Any value

    mutating func check(_ value: JSONValue, _ node: SchemaNode, depth: Int = 0) {
        steps -= 1
        guard !isOver else { return }
        if case .decimal(let text) = value {
            steps -= Self.decimalSteps.each + text.utf8.count / Self.decimalSteps.digits
        }
        if node.isImpossible { return fail("nothing may stand here") }
        if let reference = node.reference, let other = node.definitions.nodes[reference] {
            guard depth < Self.deepest else { return fail("the schema refers to itself without end") }
            check(value, other, depth: depth + 1)
        }
        checkParts(value, node, depth: depth)
        if !node.types.isEmpty, !node.takes(value) {
            return fail("expected \(node.types.names.joined(separator: " or ")), got \(value.typeName)")
        }
        if let allowed = node.allowed { checkAllowed(value, allowed) }
        switch value {
        case .integer, .decimal: checkNumber(value, node.bounds)
        case .string(let text): checkText(text, node.bounds)
        case .array(let elements): checkArray(elements, node)
        case .object(let members): checkObject(members, node)
        case .null, .bool: break
        }
    }

    private mutating func checkAllowed(_ value: JSONValue, _ allowed: [JSONValue]) {
        for choice in allowed {
            steps -= 1 + choice.costToCompare(with: value, bytesAStep: Self.bytesAStep)
            if isOver || choice.isSame(as: value) { return }
        }
        fail((allowed.count == 1 ? "must be " : "must be one of ") + Self.text(of: allowed))
    }

    /// The choices, as many as somebody would read.
    private static func text(of choices: [JSONValue]) -> String {
        var text = ""
        for choice in choices {
            if !text.isEmpty { text += ", " }
            guard text.utf8.count < longestChoices else { return text + "…" }
            let bytes = choice.bytes
            text += String(decoding: bytes.prefix(longestChoices), as: UTF8.self)
            if bytes.count > longestChoices { return text + "…" }
        }
        return text
    }

    /// `allOf`, `anyOf`, `oneOf` and `not`.
    private mutating func checkParts(_ value: JSONValue, _ node: SchemaNode, depth: Int) {
        for part in node.all { check(value, part, depth: depth + 1) }
        if !node.any.isEmpty { checkAny(value, node.any, depth: depth + 1) }
        if !node.one.isEmpty {
            var fitting = 0
            for part in node.one where fitting < 2 && fits(value, part, depth: depth + 1) { fitting += 1 }
            if fitting != 1 {
                fail(fitting == 0 ? "fits none of the alternatives" : "fits several of the alternatives")
            }
        }
        if let not = node.not, fits(value, not, depth: depth + 1) { fail("must not be so") }
    }

    private mutating func checkAny(_ value: JSONValue, _ parts: [SchemaNode], depth: Int) {
        for part in parts where fits(value, part, depth: depth) { return }
        guard !isTrial, !isOver, found.count < Self.mostFound else { return fail("fits none of the alternatives") }
        // What came closest says most.
        let attempts = parts.map { violations(in: value, of: $0, depth: depth) }
        guard let nearest = attempts.max(by: { $0.depth < $1.depth }) else { return }
        found.append(contentsOf: nearest.prefix(Self.mostFound - found.count))
    }

    /// Whether a value is as an alternative wants it, found out without a word: most of what is tried does not fit.
    private mutating func fits(_ value: JSONValue, _ node: SchemaNode, depth: Int) -> Bool {
        steps -= Self.alternativeSteps
        let outer = (isTrial, isMisfit)
        (isTrial, isMisfit) = (true, false)
        check(value, node, depth: depth)
        let fits = !isMisfit
        (isTrial, isMisfit) = outer
        return fits
    }

    private mutating func violations(in value: JSONValue, of node: SchemaNode, depth: Int) -> [SchemaViolation] {
        steps -= Self.alternativeSteps
        var outer: [SchemaViolation] = []
        swap(&outer, &found)
        check(value, node, depth: depth)
        swap(&outer, &found)
        return outer
    }

    // MARK: By type

    private mutating func checkNumber(_ value: JSONValue, _ bounds: SchemaNode.Bounds) {
        guard bounds.areOfNumbers else { return }
        let number = value.number ?? 0
        if let bound = bounds.minimum, number < bound { fail("must be at least \(decimal(bound))") }
        if let bound = bounds.maximum, number > bound { fail("must be at most \(decimal(bound))") }
        if let bound = bounds.exclusiveMinimum, number <= bound { fail("must be more than \(decimal(bound))") }
        if let bound = bounds.exclusiveMaximum, number >= bound { fail("must be less than \(decimal(bound))") }
        if let step = bounds.multipleOf, step > 0, (number / step).rounded() != number / step {
            fail("must be a multiple of \(decimal(step))")
        }
    }

    private mutating func checkText(_ text: String, _ bounds: SchemaNode.Bounds) {
        guard bounds.minLength != nil || bounds.maxLength != nil else { return }
        steps -= text.utf8.count / Self.bytesAStep
        // Where a character begins: several times as fast as to take them apart.
        var text = text
        let count = text.withUTF8 { $0.count { $0 & 0xC0 != 0x80 } }
        checkCount(count, bounds.minLength, bounds.maxLength, "characters")
    }

    private mutating func checkCount(_ count: Int, _ least: Int?, _ most: Int?, _ unit: String) {
        if let least, count < least { fail("must have at least \(least) \(unit)") }
        if let most, count > most { fail("must have at most \(most) \(unit)") }
    }

    private mutating func checkArray(_ elements: [JSONValue], _ node: SchemaNode) {
        checkCount(elements.count, node.bounds.minItems, node.bounds.maxItems, "items")
        if node.bounds.uniqueItems, elements.count > 1 {
            // Room for all of them is taken at once.
            steps -= elements.count / 16
            if isOver { return }
            var table = DistinctItems(elements)
            while steps > 0, let cost = table.addNext(bytesAStep: Self.bytesAStep) { steps -= cost + Self.itemSteps }
            if table.isRepeated { fail("items must differ") }
        }
        guard node.items != nil || !node.prefix.isEmpty else { return }
        for (index, element) in elements.enumerated() {
            guard let part = index < node.prefix.count ? node.prefix[index] : node.items else { continue }
            path.append(.element(index))
            check(element, part)
            path.removeLast()
            if isOver { return }
        }
    }

    private mutating func checkObject(_ members: [JSONValue.Member], _ node: SchemaNode) {
        steps -= members.count
        checkCount(members.count, node.bounds.minProperties, node.bounds.maxProperties, "members")
        if !node.properties.isEmpty || node.additional != nil || node.additionalForbidden {
            for member in members {
                if isOver { return }
                steps -= member.key.utf8.count / Self.bytesAStep
                if !node.properties.isEmpty { steps -= Self.nameSteps.known }
                path.append(.member(member.key))
                if let part = node.properties[ExactText(member.key)] ?? node.additional {
                    check(member.value, part)
                } else if node.additionalForbidden {
                    failUnknown(member.key, node)
                }
                path.removeLast()
            }
        }
        checkRequired(members, node.required)
    }

    private mutating func failUnknown(_ name: String, _ node: SchemaNode) {
        var meant: String?
        if !isTrial, suggestions < Self.mostSuggested {
            suggestions += 1
            meant = nearest(to: name, among: node.names)
        }
        fail("unknown member" + (meant.map { "; did you mean \"\($0)\"?" } ?? ""))
    }

    private mutating func checkRequired(_ members: [JSONValue.Member], _ required: [String]) {
        guard !required.isEmpty else { return }
        // Few names are looked for faster than they are hashed.
        let isShort = members.count * required.count <= 64
        if !isShort { steps -= members.count * Self.nameSteps.required + required.count }
        let names: Set<ExactText> = isShort ? [] : Set(members.map { ExactText($0.key) })
        for name in required {
            let isThere =
                isShort ? members.contains { $0.key.isExactly(name) } : names.contains(ExactText(name))
            guard !isThere else { continue }
            path.append(.member(name))
            fail("is required")
            path.removeLast()
        }
    }
}

extension SchemaNode {
    fileprivate func takes(_ value: JSONValue) -> Bool {
        if types.contains(Types(of: value)) { return true }
        switch value {
        case .integer: return types.contains(.number)
        // 1.0 is whole, and so is what no integer of ours can hold.
        case .decimal: return types.contains(.integer) && value.number.map { $0.rounded() == $0 } ?? false
        case .null, .bool, .string, .array, .object: return false
        }
    }
}

private func decimal(_ number: Double) -> String {
    var bytes: [UInt8] = []
    bytes.append(number: number)
    return String(decoding: bytes, as: UTF8.self)
}

extension [SchemaViolation] {
    /// How far into the value the first violation lies.
    fileprivate var depth: Int { first.map { $0.pointer.utf8.count { $0 == UInt8(ascii: "/") } } ?? 0 }
}
