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
    private let root: SchemaNode
    /// Held here alone: what nodes refer to holds nodes, and would never be gone if they held it too.
    private let definitions = Definitions()

    package init(_ source: JSONValue) throws(SchemaError) {
        self.source = source
        for definition in source["$defs"]?.members ?? [] {
            let pointer = "/$defs/" + escapedPointer(definition.key)
            definitions.nodes[ExactText("#" + pointer)] = try SchemaNode(definition.value, at: pointer, definitions)
        }
        root = try SchemaNode(source, at: "", definitions)
        definitions.nodes[ExactText("#")] = root
        if let missing = definitions.wanted.first(where: { definitions.nodes[$0.key] == nil }) {
            throw SchemaError(pointer: missing.value, detail: "nothing is at \(missing.key.text)")
        }
        if let circle = definitions.circle() {
            throw SchemaError(pointer: circle, detail: "refers to itself without a step into the value")
        }
    }

    /// What keeps `value` from fitting, in the order in which it stands in the value; of much of it the beginning. A value
    /// that is too costly to check does not fit.
    package func violations(in value: JSONValue) -> [SchemaViolation] {
        var check = SchemaCheck()
        check.check(value, root)
        return check.outcome
    }
}

private let annotations: Set<String> = [
    "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "format", "$comment",
    "$schema",
]

/// What `$ref` can name.
// Guard: filled while the schema is compiled; only read afterwards.
final class Definitions: @unchecked Sendable {
    var nodes: [ExactText: SchemaNode] = [:]
    /// Names that were referred to, and where.
    var wanted: [ExactText: String] = [:]

    /// Where something is referred to that leads back to itself without a step into the value; nil: nowhere.
    func circle() -> String? {
        var open: Set<ObjectIdentifier> = []
        var closed: Set<ObjectIdentifier> = []
        func leadsBack(_ node: SchemaNode) -> Bool {
            let id = ObjectIdentifier(node)
            if closed.contains(id) { return false }
            guard open.insert(id).inserted else { return true }
            let others =
                node.all + node.any + node.one + [node.not, node.reference.flatMap { nodes[$0] }].compactMap(\.self)
            if others.contains(where: leadsBack) { return true }
            closed.insert(id)
            return false
        }
        for (name, place) in wanted.sorted(by: { $0.value < $1.value }) {
            if let node = nodes[name], leadsBack(node) { return place }
        }
        return nil
    }
}

/// The types that a value may have, one bit each.
struct Types: OptionSet {
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
            case .decimal: 1 << 3
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
final class SchemaNode: Sendable {
    let types: Types
    let allowed: [JSONValue]?
    let properties: [ExactText: SchemaNode]
    let required: [String]
    /// The names of `properties`, for suggestions.
    let names: [String]
    /// nil: anything goes.
    let additional: SchemaNode?
    let additionalForbidden: Bool
    let items: SchemaNode?
    let prefix: [SchemaNode]
    let all, any, one: [SchemaNode]
    let not: SchemaNode?
    let isImpossible: Bool
    let reference: ExactText?
    unowned let definitions: Definitions
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

        /// Whether any of them is about a number.
        var areOfNumbers: Bool {
            minimum != nil || maximum != nil || exclusiveMinimum != nil || exclusiveMaximum != nil || multipleOf != nil
        }
    }

    init(_ source: JSONValue, at pointer: String, _ definitions: Definitions) throws(SchemaError) {
        var types: Types = []
        var allowed: [JSONValue]?
        var properties: [ExactText: SchemaNode] = [:]
        var required: [String] = []
        var additional: SchemaNode?
        var additionalForbidden = false
        var items: SchemaNode?
        var lists: [String: [SchemaNode]] = [:]
        var not: SchemaNode?
        var reference: ExactText?
        var bounds = Bounds()
        switch source {
        case .object, .bool: break
        case .null, .integer, .decimal, .string, .array:
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
                    properties[ExactText(property.key)] = try SchemaNode(
                        property.value, at: here + "/" + escapedPointer(property.key), definitions)
                }
            case "required": required = (member.value.elements ?? []).compactMap(\.string)
            case "additionalProperties":
                additionalForbidden = member.value == .bool(false)
                additional = additionalForbidden ? nil : try SchemaNode(member.value, at: here, definitions)
            case "items": items = try SchemaNode(member.value, at: here, definitions)
            case "not": not = try SchemaNode(member.value, at: here, definitions)
            case "prefixItems", "allOf", "anyOf", "oneOf":
                guard let parts = member.value.elements, !parts.isEmpty else {
                    throw SchemaError(pointer: here, detail: "expected a list of schemas")
                }
                for (index, part) in parts.enumerated() {
                    lists[member.key, default: []].append(try SchemaNode(part, at: "\(here)/\(index)", definitions))
                }
            case "$ref":
                guard let name = member.value.string, name == "#" || name.utf8.starts(with: "#/$defs/".utf8) else {
                    throw SchemaError(pointer: here, detail: "only # and #/$defs/… can be referred to")
                }
                reference = ExactText(name)
                definitions.wanted[ExactText(name)] = here
            case "$defs" where pointer.isEmpty: break
            case let key where annotations.contains(key): break
            default: try Self.bound(member, at: here, into: &bounds)
            }
        }
        self.types = types
        self.allowed = allowed
        self.properties = properties
        self.required = required
        names = properties.keys.map(\.text).sorted()
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
}

/// A member's name as one step of a JSON pointer (RFC 6901).
package func escapedPointer(_ name: String) -> String {
    guard name.utf8.contains(where: { $0 == UInt8(ascii: "~") || $0 == UInt8(ascii: "/") }) else { return name }
    return name.unicodeScalars.map { $0 == "~" ? "~0" : $0 == "/" ? "~1" : String($0) }.joined()
}
