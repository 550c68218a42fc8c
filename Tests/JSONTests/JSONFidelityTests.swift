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

    /// Values of a mebibyte or nearly so, by name, with schemas as programs have them.
    private static let ordinary: [String: (schema: JSONValue, value: JSONValue)] = [
        "digits": (list(of: ["type": "integer", "minimum": 0]), items(524_000) { _ in 1 }),
        "fractions": (list(of: ["type": "number"]), items(260_000) { .decimal("\($0 % 10).5") }),
        "whole fractions": (list(of: ["type": "integer", "minimum": 0]), items(260_000) { _ in .decimal("1.0") }),
        "differing numbers": (
            ["uniqueItems": true, "items": ["type": "integer"]], items(165_000) { .integer($0) }
        ),
        "differing fractions": (["uniqueItems": true], items(100_000) { .decimal("\($0).25") }),
        "differing long numbers": (
            ["uniqueItems": true], items(47_000) { .decimal("9223372036854\($0 + 10_000_000)") }
        ),
        "differing texts": (["uniqueItems": true], items(100_000) { .string("s\($0)") }),
        "differing objects": (["uniqueItems": true], items(70_000) { ["a": .integer($0)] }),
        "one of two types": (
            list(of: ["anyOf": [["type": "string"], ["type": "integer"]]]), items(100_000) { .integer($0) }
        ),
        "objects": (
            list(of: [
                "type": "object", "required": ["a"], "additionalProperties": false,
                "properties": ["a": ["type": "integer"], "b": ["anyOf": [["type": "string"], ["type": "null"]]]],
            ]), items(40_000) { ["a": .integer($0), "b": "x"] }
        ),
        "lists and numbers that differ": (listsAndNumbers, items(40_000) { .array([.integer($0)]) }),
    ]
    private static let listsAndNumbers: JSONValue = [
        "uniqueItems": true, "items": ["anyOf": [["type": "integer"], ["type": "array"]]],
    ]

    private static func list(of item: JSONValue) -> JSONValue { ["type": "array", "items": item] }

    private static func items(_ count: Int, _ item: (Int) -> JSONValue) -> JSONValue { .array((0..<count).map(item)) }

    @Test(arguments: ordinary.keys.sorted())
    func `a value of a mebibyte and an ordinary schema are no trouble`(name: String) throws {
        let (schema, value) = try #require(Self.ordinary[name])
        #expect(try JSONSchema(schema).violations(in: value) == [])
    }

    /// Values of which little is a step, and a step much, if it is not counted what is compared.
    private static let costly: [String: (schema: JSONValue, value: JSONValue)] = [
        "many lists that differ": (listsAndNumbers, items(110_000) { .array([.integer($0)]) }),
        "lists in lists that differ": (
            [
                "$defs": [
                    "list": [
                        "uniqueItems": true, "items": ["anyOf": [["$ref": "#/$defs/list"], ["type": "integer"]]],
                    ]
                ], "$ref": "#/$defs/list",
            ], items(30_000) { number in (0..<10).reduce(.integer(number)) { value, _ in .array([value]) } }
        ),
        "long lists to choose from": (
            list(of: ["enum": items(50) { choice in items(5000) { .integer($0 == 4999 ? -choice : $0) } }]),
            items(40) { _ in items(5000) { .integer($0 == 4999 ? 1 : $0) } }
        ),
        "long texts to choose from": (
            list(of: ["enum": items(200) { .string(String(repeating: "x", count: 10_000) + "\($0 + 100)") }]),
            items(100) { .string(String(repeating: "x", count: 10_000) + "\($0 + 500)") }
        ),
        "objects to choose from": (
            list(of: ["enum": items(50) { choice in members(500, last: choice) }]),
            items(150) { _ in members(500, last: -1) }
        ),
        "long numbers and many bounds": (
            list(of: ["anyOf": items(100) { _ in ["minimum": 7] }]),
            items(200) { _ in .decimal("0." + String(repeating: "7", count: 4000)) }
        ),
    ]

    private static func members(_ count: Int, last: Int) -> JSONValue {
        .object((0..<count).map { .init("k\($0)", .integer($0 == count - 1 ? last : 0)) })
    }

    @Test(arguments: costly.keys.sorted())
    func `what is compared is counted, and too much of it is refused by name`(name: String) throws {
        let (schema, value) = try #require(Self.costly[name])
        let found = try JSONSchema(schema).violations(in: value)
        #expect(found.map(\.pointer) == [""])
        #expect(found.first?.detail.contains("too costly") == true)
    }

    @Test func `an item is the same however its number is written, and differs by any digit`() throws {
        let schema = try JSONSchema(["uniqueItems": true])
        let numbers = [
            "0", "-0", "0.0", "0e9", "1", "1.0", "10e-1", "0.01e2", "-1", "100", "1e2", "1.00e+2",
            "9223372036854775807",
            "9223372036854775807.0", "18446744073709551615", "18446744073709551616", "1844674407370955161600e-2",
            "18446744073709551616.0000000000000000000001", "0.1", "0.10", "1e-1", "1e-400", "10e-401", "2e-400",
        ].map { Int($0).map(JSONValue.integer) ?? .decimal($0) }
        for left in numbers {
            for right in numbers {
                let differ = schema.violations(in: [left, right]).isEmpty
                #expect(differ == !left.isSame(as: right), "\(left) and \(right)")
            }
        }
        #expect(numbers[0].isSame(as: numbers[3]) && numbers[9].isSame(as: numbers[11]))
        #expect(numbers[14].isSame(as: numbers[14]) && !numbers[14].isSame(as: numbers[15]))
        #expect(numbers[15].isSame(as: numbers[16]) && !numbers[16].isSame(as: numbers[17]))
        #expect(numbers[21].isSame(as: numbers[22]) && !numbers[21].isSame(as: numbers[23]))
    }
}
