/// One thing that keeps a value from fitting a schema.
package struct SchemaViolation: Equatable, Sendable {
    /// RFC 6901, relative to the value that was checked; `""` is the value itself.
    package let pointer: String
    package let detail: String

    package init(pointer: String, detail: String) {
        self.pointer = pointer
        self.detail = detail
    }
}

/// Why a schema was refused at registration.
package struct SchemaError: Error, Equatable, CustomStringConvertible {
    package let pointer: String
    package let detail: String
    package var description: String { "schema\(pointer): \(detail)" }
}

/// A JSON Schema (2020-12), compiled for checking.
///
/// The subset: `type`, `enum`, `const`, `properties`, `required`, `additionalProperties`, `minProperties`,
/// `maxProperties`, `items`, `prefixItems`, `minItems`, `maxItems`, `uniqueItems`, `minimum`, `maximum`,
/// `exclusiveMinimum`, `exclusiveMaximum`, `multipleOf`, `minLength`, `maxLength`, `anyOf`, `allOf`, `oneOf`, `not`, and
/// `$ref` to `#` or into the root's `$defs`. `title`, `description`, `default`, `examples`, `deprecated`, `readOnly`,
/// `writeOnly`, `format`, `$comment` and `$schema` are annotations. Any other keyword is refused: a schema that silently
/// checks less than it says is worse than none.
package struct JSONSchema: Sendable {
    /// The schema as it was given.
    package let source: JSONValue
    private let root: Node
    /// Held here alone: what nodes refer to holds nodes, and would never be gone if they held it too.
    private let definitions = Definitions()

    package init(_ source: JSONValue) throws(SchemaError) {
        self.source = source
        for definition in source["$defs"]?.members ?? [] {
            let pointer = "/$defs/" + escapedPointer(definition.key)
            definitions.nodes["#" + pointer] = try Node(definition.value, at: pointer, definitions)
        }
        root = try Node(source, at: "", definitions)
        definitions.nodes["#"] = root
        if let missing = definitions.wanted.first(where: { definitions.nodes[$0.key] == nil }) {
            throw SchemaError(pointer: missing.value, detail: "nothing is at \(missing.key)")
        }
    }

    /// All that keeps `value` from fitting, in the order in which it stands in the value.
    package func violations(in value: JSONValue) -> [SchemaViolation] {
        var found: [SchemaViolation] = []
        root.check(value, at: "", into: &found)
        return found
    }
}

private let annotations: Set<String> = [
    "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "format", "$comment",
    "$schema",
]

/// What `$ref` can name.
// Guard: filled while the schema is compiled; only read afterwards.
private final class Definitions: @unchecked Sendable {
    var nodes: [String: Node] = [:]
    /// Names that were referred to, and where.
    var wanted: [String: String] = [:]
}

/// The types that a value may have, one bit each.
private struct Types: OptionSet {
    let rawValue: UInt8

    static let integer = Types(rawValue: 1 << 2)
    static let number = Types(rawValue: 1 << 3)
    private static let all = ["null", "boolean", "integer", "number", "string", "array", "object"]

    init(rawValue: UInt8) { self.rawValue = rawValue }

    init?(name: String) {
        guard let index = Self.all.firstIndex(of: name) else { return nil }
        rawValue = 1 << UInt8(index)
    }

    init(of value: JSONValue) {
        rawValue =
            switch value {
            case .null: 1
            case .bool: 1 << 1
            case .integer: 1 << 2
            case .number: 1 << 3
            case .string: 1 << 4
            case .array: 1 << 5
            case .object: 1 << 6
            }
    }

    /// In the order of the alphabet.
    var names: [String] {
        Self.all.enumerated().filter { contains(Types(rawValue: 1 << UInt8($0.offset))) }.map(\.element).sorted()
    }
}

/// One level of a schema. A class, because schemas nest.
private final class Node: Sendable {
    let types: Types
    let allowed: [JSONValue]?
    let properties: [String: Node]
    let required: [String]
    /// nil: anything goes.
    let additional: Node?
    let additionalForbidden: Bool
    let items: Node?
    let prefix: [Node]
    let all, any, one: [Node]
    let not: Node?
    let isImpossible: Bool
    let reference: String?
    private unowned let definitions: Definitions
    let bounds: Bounds

    struct Bounds: Sendable {
        var minimum: Double?
        var maximum: Double?
        var exclusiveMinimum: Double?
        var exclusiveMaximum: Double?
        var multipleOf: Double?
        var minLength: Int?
        var maxLength: Int?
        var minItems: Int?
        var maxItems: Int?
        var minProperties: Int?
        var maxProperties: Int?
        var uniqueItems = false
    }

    init(_ source: JSONValue, at pointer: String, _ definitions: Definitions) throws(SchemaError) {
        var types: Types = []
        var allowed: [JSONValue]?
        var properties: [String: Node] = [:]
        var required: [String] = []
        var additional: Node?
        var additionalForbidden = false
        var items: Node?
        var lists: [String: [Node]] = [:]
        var not: Node?
        var reference: String?
        var bounds = Bounds()
        switch source {
        case .object, .bool: break
        case .null, .integer, .number, .string, .array:
            throw SchemaError(pointer: pointer, detail: "a schema is an object, true or false")
        }
        for member in source.members {
            let here = pointer + "/" + member.key
            switch member.key {
            case "type": types = try Self.types(member.value, at: here)
            case "enum": allowed = member.value.elements
            case "const": allowed = [member.value]
            case "properties":
                for property in member.value.members {
                    properties[property.key] = try Node(
                        property.value, at: here + "/" + escapedPointer(property.key), definitions)
                }
            case "required": required = (member.value.elements ?? []).compactMap(\.string)
            case "additionalProperties":
                additionalForbidden = member.value == .bool(false)
                additional = additionalForbidden ? nil : try Node(member.value, at: here, definitions)
            case "items": items = try Node(member.value, at: here, definitions)
            case "not": not = try Node(member.value, at: here, definitions)
            case "prefixItems", "allOf", "anyOf", "oneOf":
                guard let parts = member.value.elements, !parts.isEmpty else {
                    throw SchemaError(pointer: here, detail: "expected a list of schemas")
                }
                for (index, part) in parts.enumerated() {
                    lists[member.key, default: []].append(try Node(part, at: "\(here)/\(index)", definitions))
                }
            case "$ref":
                guard let name = member.value.string, name == "#" || name.hasPrefix("#/$defs/") else {
                    throw SchemaError(pointer: here, detail: "only # and #/$defs/… can be referred to")
                }
                reference = name
                definitions.wanted[name] = here
            case "$defs" where pointer.isEmpty: break
            case let key where annotations.contains(key): break
            default: try Self.bound(member, at: here, into: &bounds)
            }
        }
        self.types = types
        self.allowed = allowed
        self.properties = properties
        self.required = required
        self.additional = additional
        self.additionalForbidden = additionalForbidden
        self.items = items
        prefix = lists["prefixItems"] ?? []
        all = lists["allOf"] ?? []
        any = lists["anyOf"] ?? []
        one = lists["oneOf"] ?? []
        self.not = not
        isImpossible = source == .bool(false)
        self.reference = reference
        self.definitions = definitions
        self.bounds = bounds
    }

    private static func types(_ value: JSONValue, at pointer: String) throws(SchemaError) -> Types {
        let names = value.string.map { [$0] } ?? (value.elements ?? []).compactMap(\.string)
        let types = names.compactMap(Types.init(name:))
        guard !names.isEmpty, types.count == names.count else {
            throw SchemaError(pointer: pointer, detail: "unknown type")
        }
        return Types(types)
    }

    private static func bound(
        _ member: JSONValue.Member, at pointer: String, into bounds: inout Bounds
    ) throws(SchemaError) {
        if member.key == "uniqueItems", let flag = member.value.bool {
            bounds.uniqueItems = flag
            return
        }
        let numbers: [String: WritableKeyPath<Bounds, Double?>] = [
            "minimum": \.minimum, "maximum": \.maximum, "exclusiveMinimum": \.exclusiveMinimum,
            "exclusiveMaximum": \.exclusiveMaximum, "multipleOf": \.multipleOf,
        ]
        let counts: [String: WritableKeyPath<Bounds, Int?>] = [
            "minLength": \.minLength, "maxLength": \.maxLength, "minItems": \.minItems, "maxItems": \.maxItems,
            "minProperties": \.minProperties, "maxProperties": \.maxProperties,
        ]
        if let path = numbers[member.key], let number = member.value.number {
            bounds[keyPath: path] = number
        } else if let path = counts[member.key], let count = member.value.integer, count >= 0 {
            bounds[keyPath: path] = count
        } else if numbers[member.key] != nil || counts[member.key] != nil || member.key == "uniqueItems" {
            throw SchemaError(pointer: pointer, detail: "value of the wrong type")
        } else {
            throw SchemaError(pointer: pointer, detail: "unsupported keyword")
        }
    }

    // MARK: Checking

    /// How often a reference may lead to another one before a step into the value.
    private static let deepest = 64

    func check(_ value: JSONValue, at pointer: String, into found: inout [SchemaViolation], depth: Int = 0) {
        func fail(_ detail: String) { found.append(SchemaViolation(pointer: pointer, detail: detail)) }
        if isImpossible { return fail("nothing may stand here") }
        if let reference, let node = definitions.nodes[reference] {
            guard depth < Self.deepest else { return fail("the schema refers to itself without end") }
            node.check(value, at: pointer, into: &found, depth: depth + 1)
        }
        if !all.isEmpty || !any.isEmpty || !one.isEmpty || not != nil {
            checkParts(value, at: pointer, into: &found, depth: depth)
        }
        if !types.isEmpty, !fits(value) {
            fail("expected \(types.names.joined(separator: " or ")), got \(value.typeName)")
            return
        }
        if let allowed, !allowed.contains(where: { $0.isSame(as: value) }) {
            let choices = allowed.map { String(decoding: $0.bytes, as: UTF8.self) }.joined(separator: ", ")
            fail(allowed.count == 1 ? "must be \(choices)" : "must be one of \(choices)")
        }
        switch value {
        case .integer(let number): checkNumber(Double(number), fail)
        case .number(let number): checkNumber(number, fail)
        case .string(let text):
            checkCount(text.unicodeScalars.count, bounds.minLength, bounds.maxLength, "characters", fail)
        case .array(let elements):
            checkCount(elements.count, bounds.minItems, bounds.maxItems, "items", fail)
            if bounds.uniqueItems,
                elements.indices.contains(where: { index in
                    elements[..<index].contains { $0.isSame(as: elements[index]) }
                })
            {
                fail("items must differ")
            }
            for (index, element) in elements.enumerated() {
                let node = index < prefix.count ? prefix[index] : items
                node?.check(element, at: "\(pointer)/\(index)", into: &found)
            }
        case .object(let members): checkObject(members, at: pointer, into: &found)
        case .null, .bool: break
        }
    }

    /// `allOf`, `anyOf`, `oneOf` and `not`.
    private func checkParts(
        _ value: JSONValue, at pointer: String, into found: inout [SchemaViolation], depth: Int
    ) {
        func fail(_ detail: String) { found.append(SchemaViolation(pointer: pointer, detail: detail)) }
        func violations(_ node: Node) -> [SchemaViolation] {
            var found: [SchemaViolation] = []
            node.check(value, at: pointer, into: &found, depth: depth + 1)
            return found
        }
        for node in all { node.check(value, at: pointer, into: &found, depth: depth + 1) }
        if !any.isEmpty {
            let attempts = any.map(violations)
            // What came closest says most.
            if !attempts.contains(where: \.isEmpty), let nearest = attempts.max(by: { $0.depth < $1.depth }) {
                found.append(contentsOf: nearest)
            }
        }
        if !one.isEmpty {
            let fitting = one.count { violations($0).isEmpty }
            if fitting != 1 {
                fail(fitting == 0 ? "fits none of the alternatives" : "fits several of the alternatives")
            }
        }
        if let not, violations(not).isEmpty { fail("must not be so") }
    }

    private func fits(_ value: JSONValue) -> Bool {
        if types.contains(Types(of: value)) { return true }
        switch value {
        case .integer: return types.contains(.number)
        case .number: return types.contains(.integer) && value.integer != nil
        case .null, .bool, .string, .array, .object: return false
        }
    }

    private func checkNumber(_ number: Double, _ fail: (String) -> Void) {
        if let bound = bounds.minimum, number < bound { fail("must be at least \(decimal(bound))") }
        if let bound = bounds.maximum, number > bound { fail("must be at most \(decimal(bound))") }
        if let bound = bounds.exclusiveMinimum, number <= bound { fail("must be more than \(decimal(bound))") }
        if let bound = bounds.exclusiveMaximum, number >= bound { fail("must be less than \(decimal(bound))") }
        if let step = bounds.multipleOf, step > 0, (number / step).rounded() != number / step {
            fail("must be a multiple of \(decimal(step))")
        }
    }

    private func checkCount(_ count: Int, _ least: Int?, _ most: Int?, _ unit: String, _ fail: (String) -> Void) {
        if let least, count < least { fail("must have at least \(least) \(unit)") }
        if let most, count > most { fail("must have at most \(most) \(unit)") }
    }

    private func checkObject(_ members: [JSONValue.Member], at pointer: String, into found: inout [SchemaViolation]) {
        checkCount(members.count, bounds.minProperties, bounds.maxProperties, "members") {
            found.append(SchemaViolation(pointer: pointer, detail: $0))
        }
        for member in members {
            let node = properties[member.key]
            if let node = node ?? additional {
                node.check(member.value, at: pointer + "/" + escapedPointer(member.key), into: &found)
            } else if additionalForbidden {
                let near =
                    nearest(to: member.key, among: properties.keys.sorted()).map { "; did you mean \"\($0)\"?" } ?? ""
                found.append(
                    SchemaViolation(
                        pointer: pointer + "/" + escapedPointer(member.key), detail: "unknown member" + near))
            }
        }
        for name in required where !members.contains(where: { $0.key == name }) {
            found.append(SchemaViolation(pointer: pointer + "/" + escapedPointer(name), detail: "is required"))
        }
    }
}

private func decimal(_ number: Double) -> String {
    var bytes: [UInt8] = []
    bytes.append(number: number)
    return String(decoding: bytes, as: UTF8.self)
}

/// A member's name as one step of a JSON pointer (RFC 6901).
package func escapedPointer(_ name: String) -> String {
    guard name.utf8.contains(where: { $0 == UInt8(ascii: "~") || $0 == UInt8(ascii: "/") }) else { return name }
    return name.map { $0 == "~" ? "~0" : $0 == "/" ? "~1" : String($0) }.joined()
}

extension [SchemaViolation] {
    /// How far into the value the first violation lies.
    fileprivate var depth: Int { first.map { $0.pointer.utf8.count { $0 == UInt8(ascii: "/") } } ?? 0 }
}

extension JSONValue {
    /// Equal as JSON Schema has it: 1 is 1.0, and the order of members says nothing.
    fileprivate func isSame(as other: JSONValue) -> Bool {
        switch (self, other) {
        case (.array(let left), .array(let right)):
            return left.count == right.count && zip(left, right).allSatisfy { $0.isSame(as: $1) }
        case (.object(let left), .object(let right)):
            return left.count == right.count
                && left.allSatisfy { member in other[member.key].map { member.value.isSame(as: $0) } ?? false }
        case (.number, .integer), (.integer, .number): return number == other.number
        default: return self == other
        }
    }
}
