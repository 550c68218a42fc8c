import Glibc
import Testing

@testable import JSON

/// The cases that all implementations share, as far as they are about keywords that ours knows: whether a value fits is
/// for the suite to say. It has draft 7, whose meaning these keywords have kept; schemas with others are refused.
///
/// Source: Debian's json-schema-test-suite.
@Suite struct JSONSchemaSuiteTests {
    static let directory = "/usr/share/json-schema-test-suite/tests/draft7"
    static let files = [
        "additionalProperties", "allOf", "anyOf", "boolean_schema", "const", "default", "enum", "exclusiveMaximum",
        "exclusiveMinimum", "items", "maxItems", "maxLength", "maxProperties", "maximum", "minItems", "minLength",
        "minProperties", "minimum", "multipleOf", "not", "oneOf", "properties", "required", "type", "uniqueItems",
    ]

    @Test(.enabled(if: access(directory, R_OK) == 0), arguments: files)
    func `a value fits when the suite says so`(_ name: String) throws {
        let groups = try #require(JSONReader.value(of: contents(of: "\(Self.directory)/\(name).json")).elements)
        var checked = 0
        for group in groups {
            guard let schema = group["schema"], let compiled = try? JSONSchema(schema) else { continue }
            for test in group["tests"]?.elements ?? [] {
                let value = try #require(test["data"])
                let fits = compiled.violations(in: value).isEmpty
                let about = "\(name): \(group["description"]?.string ?? ""): \(test["description"]?.string ?? "")"
                #expect(fits == test["valid"]?.bool, "\(about)")
                checked += 1
            }
        }
        #expect(checked > 0, "nothing of \(name) could be checked")
    }

    @Test func `a reference leads to a definition, or round in circles without end`() throws {
        let tree = try JSONSchema([
            "$defs": [
                "node": [
                    "type": "object", "properties": ["next": ["$ref": "#/$defs/node"]], "additionalProperties": false,
                ]
            ],
            "$ref": "#/$defs/node",
        ])
        #expect(tree.violations(in: ["next": ["next": [:]]]).isEmpty)
        #expect(tree.violations(in: ["next": ["nest": 1]]).first?.pointer == "/next/nest")
        #expect(throws: SchemaError.self) { try JSONSchema(["$ref": "#"]) }
        #expect(throws: SchemaError.self) { try JSONSchema(["$ref": "#/$defs/none"]) }
        #expect(throws: SchemaError.self) { try JSONSchema(["$ref": "http://elsewhere"]) }
    }

    @Test func `of several alternatives the one that came closest is named`() throws {
        let schema = try JSONSchema([
            "anyOf": [["type": "null"], ["type": "object", "properties": ["a": ["type": "integer"]]]]
        ])
        #expect(schema.violations(in: ["a": "x"]).map(\.pointer) == ["/a"])
    }

    private func contents(of path: String) throws -> [UInt8] {
        let file = try #require(fopen(path, "r"))
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while case let count = fread(&buffer, 1, buffer.count, file), count > 0 { bytes += buffer[..<count] }
        return bytes
    }
}
