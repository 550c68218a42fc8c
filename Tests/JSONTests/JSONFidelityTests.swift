import Testing

@testable import JSON

@Suite struct JSONFidelityTests {
    static let numbers = [
        "18446744073709551615", "18446744073709551616", "9223372036854775808", "-9223372036854775809", "1.0", "1e2",
        "1E+2",
        "1" + String(repeating: "0", count: 30), "-0", "-0.0", "0.1", "1.10", "123456789012345678901234567890.5",
        "5e-324", "1e-400",
        "0e-9223372036854775808", "0e99999999999999999999", "12345678901234567890e-5",
    ]

    @Test(arguments: numbers) func `a number leaves as it came`(text: String) throws {
        #expect(try JSONReader.value(of: Array(text.utf8)).bytes == Array(text.utf8))
        #expect(try JSONReader.value(of: Array("[\(text)]".utf8)).bytes == Array("[\(text)]".utf8))
        let value = try JSONReader.value(of: Array(text.utf8))
        #expect(try JSONSchema(["type": "number", "const": value]).violations(in: value).isEmpty)
        #expect(try !JSONSchema(["uniqueItems": true]).violations(in: .array([value, 1, value])).isEmpty)
    }

    @Test func `numbers beyond all programs are refused`() {
        for text in [
            "1e309", "-1e309", "1" + String(repeating: "0", count: 400), String(repeating: "1", count: 5000),
            "0." + String(repeating: "1", count: 5000),
        ] {
            #expect(throws: JSONError.self) { try JSONReader.value(of: Array(text.utf8)) }
        }
    }

    @Test func `numbers are the same by what they are worth, to the last digit`() throws {
        func same(_ left: String, _ right: String) throws -> Bool {
            try JSONSchema(["const": JSONReader.value(of: Array(left.utf8))])
                .violations(in: JSONReader.value(of: Array(right.utf8))).isEmpty
        }
        for (left, right) in [
            ("1", "1.0"), ("100", "1e2"), ("0", "-0"), ("0.10", "1e-1"),
            ("18446744073709551615", "18446744073709551615.0"),
            ("1.5e3", "1500"), ("0", "0e99999999999999999999"), ("0", "0e-9223372036854775808"),
        ] {
            #expect(try same(left, right) && same(right, left), "\(left) and \(right)")
        }
        for (left, right) in [
            ("18446744073709551615", "18446744073709551614"), ("9007199254740993", "9007199254740992.0"),
            ("1", "1.0000000000000000001"),
            ("-1", "1.0"),
        ] {
            #expect(try !same(left, right) && !same(right, left), "\(left) and \(right)")
        }
    }

    @Test func `members are told apart by their bytes`() throws {
        // e with an accent: as one character, and as two.
        let text = Array("{\"\u{E9}\":1,\"e\u{301}\":2,\"\u{212A}\":3,\"K\":4}".utf8)
        let value = try JSONReader.value(of: text)
        #expect(value.bytes == text)
        #expect(value["\u{E9}"] == 1 && value["e\u{301}"] == 2 && value["\u{212A}"] == 3 && value["K"] == 4)
        #expect(JSONValue.string("\u{E9}") != .string("e\u{301}"))
        // Short ones, long ones, and those that lie elsewhere in memory.
        for name in ["", "k", "fifteen bytes !", "sixteen bytes !!", String(repeating: "\u{E9}", count: 99)] {
            #expect((name + "a").isExactly("\(name)a"))
            #expect(!(name + "a").isExactly(name + "b") && !(name + "a").isExactly(name) && !name.isExactly(name + "a"))
            #expect(!(name + "\u{E9}").isExactly(name + "e\u{301}") && name.isExactly(String((name + "a").dropLast())))
        }
        let schema = try JSONSchema([
            "properties": ["\u{E9}": ["type": "integer"], "e\u{301}": ["type": "string"]], "required": ["e\u{301}"],
            "additionalProperties": false,
        ])
        #expect(schema.violations(in: ["\u{E9}": 1, "e\u{301}": "x"]).isEmpty)
        #expect(schema.violations(in: ["\u{E9}": 1]).map(\.detail) == ["is required"])
        #expect(throws: JSONError.self) { try JSONReader.value(of: Array("{\"\u{E9}\":1,\"\\u00e9\":2}".utf8)) }
        let many = (0..<20).map { "\"m\($0)\":0" } + ["\"\u{E9}\":1", "\"e\u{301}\":2"]
        #expect(try JSONReader.value(of: Array("{\(many.joined(separator: ","))}".utf8)).members.count == 22)
    }

    @Test func `what is as deep as it may be can be wrapped and read again`() throws {
        let deep = Array((String(repeating: "[", count: 64) + String(repeating: "]", count: 64)).utf8)
        #expect(try JSONReader.value(of: deep).depth == 64)
        #expect(throws: JSONError.self) { try JSONReader.value(of: [0x5B] + deep + [0x5D]) }
        let wrapped = Array(#"{"jobs":[{"input":"#.utf8) + deep + Array("}]}".utf8)
        #expect(try JSONReader.value(of: wrapped, depth: JSONReader.envelopedDepth).bytes == wrapped)
    }
}

@Suite struct SchemaCostTests {
    /// By name: the values themselves are too long for a test's line in the log.
    private static let different: [String: [JSONValue]] = [
        "integers": (0..<20_000).map { .integer($0) },
        "texts": (0..<20_000).map { .string("item \($0)") },
        "arrays": (0..<10_000).map { .array([.integer($0)]) },
        "objects": (0..<10_000).map { ["a": .integer($0)] },
        // To a `Double` these are all the same.
        "numbers next to zero": (0..<10_000).map { .decimal("1e-\($0 + 400)") },
        "numbers next to one": (0..<10_000).map { .decimal("1.00000000000000000000\($0 + 100_001)") },
    ]

    @Test(arguments: different.keys.sorted())
    func `that all items differ is found out in one pass`(name: String) throws {
        let items = try #require(Self.different[name])
        let value = JSONValue.array(items)
        let schema = try JSONSchema(["type": "array", "uniqueItems": true])
        #expect(schema.violations(in: value).isEmpty)
        let again = JSONValue.array(items + [items[77]])
        #expect(schema.violations(in: again).map(\.detail) == ["items must differ"])
    }

    @Test func `alternatives of alternatives come to an end`() throws {
        let schema = try JSONSchema([
            "$defs": [
                "a": [
                    "anyOf": [
                        ["type": "array", "items": ["$ref": "#/$defs/a"]],
                        ["type": "array", "items": ["$ref": "#/$defs/a"]],
                        ["type": "null"],
                    ]
                ]
            ], "$ref": "#/$defs/a",
        ])
        var value: JSONValue = 1
        for _ in 0..<60 { value = .array([value]) }
        #expect(schema.violations(in: value).map(\.pointer) == [""])
        #expect(schema.violations(in: value).first?.detail.contains("too costly") == true)
        #expect(schema.violations(in: [[.null, []]]).isEmpty)
    }

    @Test(
        arguments: [
            ["$ref": "#"], ["anyOf": [["$ref": "#"], ["type": "null"]]], ["not": ["$ref": "#"]],
            [
                "$defs": ["a": ["$ref": "#/$defs/b"], "b": ["allOf": [["$ref": "#/$defs/a"]]]],
                "properties": ["x": ["$ref": "#/$defs/a"]],
            ],
            ["$defs": ["a": ["oneOf": [["$ref": "#/$defs/a"]]]], "$ref": "#/$defs/a"],
        ] as [JSONValue])
    func `a schema that leads back to itself without a step into the value is refused`(source: JSONValue) {
        #expect(throws: SchemaError.self) { try JSONSchema(source) }
    }

    @Test func `a thousand violations and names without end are told in bounded time`() throws {
        let schema = try JSONSchema([
            "additionalProperties": false,
            "properties": .object((0..<100).map { JSONValue.Member("property_\($0)", true) }),
        ])
        let value = JSONValue.object((0..<10_000).map { JSONValue.Member("unknown_\($0)", 1) })
        let found = schema.violations(in: value)
        #expect(found.count == 100)
        #expect(
            schema.violations(in: .object([JSONValue.Member(String(repeating: "p", count: 500_000), 1)])).count == 1)
    }

    @Test func `large objects are compared in one pass`() throws {
        let members = (0..<10_000).map { JSONValue.Member("m\($0)", .integer($0)) }
        let schema = try JSONSchema(["const": .object(members)])
        #expect(schema.violations(in: .object(members.reversed())).isEmpty)
    }

    @Test func `a value of a mebibyte and an ordinary schema are no trouble`() throws {
        let schema = try JSONSchema(["type": "array", "items": ["type": "integer", "minimum": 0]])
        #expect(schema.violations(in: .array((0..<100_000).map { .integer($0) })).isEmpty)
    }
}
