/// A JSON text as a value.
///
/// For inputs, schemas and configuration; payloads that only pass through stay bytes. Objects keep the order of their
/// members, which are told apart by their bytes. Numbers leave as they came: what is no plain whole number of 64 bits is
/// kept digit by digit.
package enum JSONValue: Sendable {
    case null
    case bool(Bool)
    case integer(Int)
    /// Any other number, as it was written: `1.0`, `1e2`, `-0`, `18446744073709551615`.
    case decimal(String)
    case string(String)
    case array([JSONValue])
    case object([Member])

    package struct Member: Sendable {
        package let key: String
        package let value: JSONValue

        package init(_ key: String, _ value: JSONValue) {
            self.key = key
            self.value = value
        }
    }

    /// The member called `key`; nil when there is none or this is no object.
    package subscript(key: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        for member in members where member.key.isExactly(key) { return member.value }
        return nil
    }

    package var members: [Member] {
        if case .object(let members) = self { members } else { [] }
    }

    package var elements: [JSONValue]? {
        if case .array(let elements) = self { elements } else { nil }
    }

    package var string: String? {
        if case .string(let text) = self { text } else { nil }
    }

    package var bool: Bool? {
        if case .bool(let flag) = self { flag } else { nil }
    }

    /// The value as a whole number; also for `5.0`, nil for `5.5`.
    package var integer: Int? {
        switch self {
        case .integer(let value): value
        case .decimal(let text): Double(text).flatMap { Int(exactly: $0) }
        case .null, .bool, .string, .array, .object: nil
        }
    }

    package var number: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .decimal(let text): Double(text)
        case .null, .bool, .string, .array, .object: nil
        }
    }

    /// A number of ours, as short as it can be; null for what JSON cannot say.
    package static func number(_ value: Double) -> JSONValue {
        guard value.isFinite else { return .null }
        var text: [UInt8] = []
        text.append(number: value)
        let digits = String(decoding: text, as: UTF8.self)
        return Int(digits).map { .integer($0) } ?? .decimal(digits)
    }

    /// The name of its type, in JSON Schema's words.
    package var typeName: String {
        switch self {
        case .null: "null"
        case .bool: "boolean"
        case .integer: "integer"
        case .decimal: "number"
        case .string: "string"
        case .array: "array"
        case .object: "object"
        }
    }

    /// How many arrays and objects stand in each other.
    package var depth: Int {
        switch self {
        case .null, .bool, .integer, .decimal, .string: 0
        case .array(let elements): 1 + (elements.lazy.map(\.depth).max() ?? 0)
        case .object(let members): 1 + (members.lazy.map(\.value.depth).max() ?? 0)
        }
    }

    /// Compact JSON, UTF-8.
    package var bytes: [UInt8] {
        var out: [UInt8] = []
        write(to: &out)
        return out
    }

    package func write(to out: inout [UInt8]) {
        switch self {
        case .null: out.append("null")
        case .bool(let flag): out.append(flag ? "true" : "false")
        case .integer(let value): out.append(integer: value)
        case .decimal(let text): out.append(utf8: text)
        case .string(let text): out.append(jsonString: text)
        case .array(let elements):
            out.append("[")
            for (index, element) in elements.enumerated() {
                if index > 0 { out.append(",") }
                element.write(to: &out)
            }
            out.append("]")
        case .object(let members):
            out.append("{")
            for (index, member) in members.enumerated() {
                if index > 0 { out.append(",") }
                out.append(jsonString: member.key)
                out.append(":")
                member.value.write(to: &out)
            }
            out.append("}")
        }
    }
}

extension JSONValue: Equatable {
    /// The same text, but for spaces and escapes: 1 is not 1.0, and members stand in the same order.
    package static func == (left: JSONValue, right: JSONValue) -> Bool {
        switch (left, right) {
        case (.null, .null): true
        case (.bool(let left), .bool(let right)): left == right
        case (.integer(let left), .integer(let right)): left == right
        case (.decimal(let left), .decimal(let right)): left == right
        case (.string(let left), .string(let right)): left.isExactly(right)
        case (.array(let left), .array(let right)): left == right
        case (.object(let left), .object(let right)):
            left.count == right.count
                && zip(left, right).allSatisfy { $0.key.isExactly($1.key) && $0.value == $1.value }
        case (.null, _), (.bool, _), (.integer, _), (.decimal, _), (.string, _), (.array, _), (.object, _): false
        }
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
    ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    package init(stringLiteral value: String) { self = .string(value) }
    package init(integerLiteral value: Int) { self = .integer(value) }
    package init(floatLiteral value: Double) { self = JSONValue.number(value) }
    package init(booleanLiteral value: Bool) { self = .bool(value) }
    package init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    package init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(elements.map { Member($0.0, $0.1) })
    }
}
