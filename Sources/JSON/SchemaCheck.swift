/// One look at whether a value fits a schema, within a bounded number of steps: alternatives of alternatives can take more
/// than there is time, for a value of a few bytes.
struct SchemaCheck {
    /// Enough for a value of a mebibyte and a schema without alternatives.
    private static let mostSteps = 1_000_000
    /// What an alternative costs besides its check: it is what can be without end.
    private static let alternativeSteps = 9
    /// More violations than this help nobody.
    private static let mostFound = 100
    /// Of unknown members so many are told what may have been meant.
    private static let mostSuggested = 5
    /// How often alternatives and references may lead to others before a step into the value.
    private static let deepest = 64

    private enum Step {
        case member(String)
        case element(Int)
    }

    private var steps = mostSteps
    private var found: [SchemaViolation] = []
    /// Where in the value we are.
    private var path: [Step] = []

    var outcome: [SchemaViolation] {
        guard steps <= 0 else { return found }
        return [SchemaViolation(pointer: "", detail: "is too costly to check: it has too many alternatives")]
    }

    private var pointer: String {
        path.reduce(into: "") { pointer, step in
            switch step {
            case .member(let name): pointer += "/" + escapedPointer(name)
            case .element(let index): pointer += "/\(index)"
            }
        }
    }

    private mutating func fail(_ detail: @autoclosure () -> String) {
        guard found.count < Self.mostFound else { return }
        found.append(SchemaViolation(pointer: pointer, detail: detail()))
    }

    // MARK: Any value

    mutating func check(_ value: JSONValue, _ node: SchemaNode, depth: Int = 0) {
        steps -= 1
        guard steps > 0 else { return }
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
        case .integer, .decimal: checkNumber(value.number ?? 0, node.bounds)
        case .string(let text): checkText(text, node.bounds)
        case .array(let elements): checkArray(elements, node)
        case .object(let members): checkObject(members, node)
        case .null, .bool: break
        }
    }

    private mutating func checkAllowed(_ value: JSONValue, _ allowed: [JSONValue]) {
        steps -= allowed.count
        guard !allowed.contains(where: { $0.isSame(as: value) }) else { return }
        let choices = allowed.map { String(decoding: $0.bytes, as: UTF8.self) }.joined(separator: ", ")
        fail(allowed.count == 1 ? "must be \(choices)" : "must be one of \(choices)")
    }

    /// `allOf`, `anyOf`, `oneOf` and `not`.
    private mutating func checkParts(_ value: JSONValue, _ node: SchemaNode, depth: Int) {
        for part in node.all { check(value, part, depth: depth + 1) }
        if !node.any.isEmpty {
            let attempts = node.any.map { violations(in: value, of: $0, depth: depth + 1) }
            // What came closest says most.
            if !attempts.contains(where: \.isEmpty), let nearest = attempts.max(by: { $0.depth < $1.depth }) {
                found.append(contentsOf: nearest.prefix(max(Self.mostFound - found.count, 0)))
            }
        }
        if !node.one.isEmpty {
            let fitting = node.one.count { violations(in: value, of: $0, depth: depth + 1).isEmpty }
            if fitting != 1 {
                fail(fitting == 0 ? "fits none of the alternatives" : "fits several of the alternatives")
            }
        }
        if let not = node.not, violations(in: value, of: not, depth: depth + 1).isEmpty { fail("must not be so") }
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

    private mutating func checkNumber(_ number: Double, _ bounds: SchemaNode.Bounds) {
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
        steps -= text.utf8.count / 64
        checkCount(text.unicodeScalars.count, bounds.minLength, bounds.maxLength, "characters")
    }

    private mutating func checkCount(_ count: Int, _ least: Int?, _ most: Int?, _ unit: String) {
        if let least, count < least { fail("must have at least \(least) \(unit)") }
        if let most, count > most { fail("must have at most \(most) \(unit)") }
    }

    private mutating func checkArray(_ elements: [JSONValue], _ node: SchemaNode) {
        checkCount(elements.count, node.bounds.minItems, node.bounds.maxItems, "items")
        if node.bounds.uniqueItems, elements.count > 1 {
            steps -= elements.count
            if Set(elements.lazy.map(Distinct.init)).count < elements.count { fail("items must differ") }
        }
        guard node.items != nil || !node.prefix.isEmpty else { return }
        for (index, element) in elements.enumerated() {
            guard let part = index < node.prefix.count ? node.prefix[index] : node.items else { continue }
            path.append(.element(index))
            check(element, part)
            path.removeLast()
            if steps <= 0 { return }
        }
    }

    private mutating func checkObject(_ members: [JSONValue.Member], _ node: SchemaNode) {
        steps -= members.count
        checkCount(members.count, node.bounds.minProperties, node.bounds.maxProperties, "members")
        if !node.properties.isEmpty || node.additional != nil || node.additionalForbidden {
            for member in members {
                if steps <= 0 { return }
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
        let meant = found.count < Self.mostSuggested ? nearest(to: name, among: node.names) : nil
        fail("unknown member" + (meant.map { "; did you mean \"\($0)\"?" } ?? ""))
    }

    private mutating func checkRequired(_ members: [JSONValue.Member], _ required: [String]) {
        guard !required.isEmpty else { return }
        // Few names are looked for faster than they are hashed.
        let isShort = members.count * required.count <= 64
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
