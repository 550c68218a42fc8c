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
/// The subset: `type`, `enum`, `const`, `properties`, `required`, `additionalProperties`, `items`, `minimum`, `maximum`,
/// `exclusiveMinimum`, `exclusiveMaximum`, `multipleOf`, `minLength`, `maxLength`, `minItems`, `maxItems`, `uniqueItems`.
/// `title`, `description`, `default`, `examples`, `format` and `$schema` are annotations. Any other keyword is refused:
/// a schema that silently checks less than it says is worse than none.
package struct JSONSchema: Sendable {
    /// The schema as it was given.
    package let source: JSONValue
    private let root: Node

    package init(_ source: JSONValue) throws(SchemaError) {
        self.source = source
        root = try Node(source, at: "")
    }

    /// All that keeps `value` from fitting, in the order in which it stands in the value.
    package func violations(in value: JSONValue) -> [SchemaViolation] {
        var found: [SchemaViolation] = []
        root.check(value, at: "", into: &found)
        return found
    }
}

private let annotations: Set<String> = ["title", "description", "default", "examples", "format", "$schema"]
private let typeNames: Set<String> = ["null", "boolean", "integer", "number", "string", "array", "object"]

/// One level of a schema. A class, because schemas nest.
private final class Node: Sendable {
    let types: Set<String>
    let allowed: [JSONValue]?
    let properties: [String: Node]
    let required: [String]
    /// nil: anything goes.
    let additional: Node?
    let additionalForbidden: Bool
    let items: Node?
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
        var uniqueItems = false
    }

    init(_ source: JSONValue, at pointer: String) throws(SchemaError) {
        var types: Set<String> = []
        var allowed: [JSONValue]?
        var properties: [String: Node] = [:]
        var required: [String] = []
        var additional: Node?
        var additionalForbidden = false
        var items: Node?
        var bounds = Bounds()
        switch source {
        case .object, .bool(true): break
        case .null, .bool, .integer, .number, .string, .array:
            throw SchemaError(pointer: pointer, detail: "a schema is an object or true")
        }
        for member in source.members {
            let here = pointer + "/" + member.key
            switch member.key {
            case "type": types = try Self.types(member.value, at: here)
            case "enum": allowed = member.value.elements
            case "const": allowed = [member.value]
            case "properties":
                for property in member.value.members {
                    properties[property.key] = try Node(property.value, at: here + "/" + property.key)
                }
            case "required": required = (member.value.elements ?? []).compactMap(\.string)
            case "additionalProperties":
                additionalForbidden = member.value == .bool(false)
                additional = additionalForbidden ? nil : try Node(member.value, at: here)
            case "items": items = try Node(member.value, at: here)
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
        self.bounds = bounds
    }

    private static func types(_ value: JSONValue, at pointer: String) throws(SchemaError) -> Set<String> {
        let names = value.string.map { [$0] } ?? (value.elements ?? []).compactMap(\.string)
        guard !names.isEmpty, names.allSatisfy(typeNames.contains) else {
            throw SchemaError(pointer: pointer, detail: "unknown type")
        }
        return Set(names)
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

    func check(_ value: JSONValue, at pointer: String, into found: inout [SchemaViolation]) {
        func fail(_ detail: String) { found.append(SchemaViolation(pointer: pointer, detail: detail)) }
        if !types.isEmpty, !fits(value) {
            fail("expected \(types.sorted().joined(separator: " or ")), got \(value.typeName)")
            return
        }
        if let allowed, !allowed.contains(value) {
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
            if bounds.uniqueItems, elements.indices.contains(where: { elements[..<$0].contains(elements[$0]) }) {
                fail("items must differ")
            }
            guard let items else { return }
            for (index, element) in elements.enumerated() {
                items.check(element, at: "\(pointer)/\(index)", into: &found)
            }
        case .object(let members): checkObject(members, at: pointer, into: &found)
        case .null, .bool: break
        }
    }

    private func fits(_ value: JSONValue) -> Bool {
        if types.contains(value.typeName) { return true }
        switch value {
        case .integer: return types.contains("number")
        case .number: return types.contains("integer") && value.integer != nil
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
