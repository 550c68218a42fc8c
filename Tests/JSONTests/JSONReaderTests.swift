import Testing

@testable import JSON

@Suite struct JSONReaderTests {
    private func read(_ text: String) throws(JSONError) -> JSONValue { try JSONReader.value(of: Array(text.utf8)) }

    @Test func `values are read as they are meant`() throws {
        #expect(
            try read(" { \"a\" : [ 1 , -2.5e1 , true , null , \"x\" ] } ") == [
                "a": [1, .decimal("-2.5e1"), true, .null, "x"]
            ])
        #expect(try read("9223372036854775807") == .integer(.max))
        #expect(try read("-9223372036854775808") == .integer(.min))
        #expect(try read("9223372036854775808") == .decimal("9223372036854775808"))
        #expect(try read(#""\u00e9\ud83d\ude00\n\/""#) == "é😀\n/")
    }

    @Test(arguments: [
        "", " ", "{", "[1,]", "{\"a\":1,}", "{a:1}", "{\"a\" 1}", "01", "-", "1.", ".5", "1e", "+1", "NaN", "tru", "\"",
        "\"\\x\"",
        "\"\u{01}\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\udc00\"", "[1 2]", "1 2", "{\"a\":1,\"a\":2}", "1e999",
        "// x\n1", "\u{FEFF}1",
    ])
    func `what is no JSON is refused`(_ text: String) {
        #expect(throws: JSONError.self) { try read(text) }
    }

    @Test(arguments: [1, 7, 8, 9, 40])
    func `no member may come twice, however many there are`(_ count: Int) throws {
        let members = (0..<count).map { "\"m\($0)\":\($0)" }
        #expect(try read("{\(members.joined(separator: ","))}").members.count == count)
        for again in [0, count / 2, count - 1] {
            let text = "{\(members.joined(separator: ",")),\"m\(again)\":0}"
            #expect(throws: JSONError.self) { try read(text) }
        }
    }

    @Test func `bytes that are no UTF-8 are refused`() {
        for bad in [[0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xE2, 0x82], [0x80]] as [[UInt8]] {
            #expect(throws: JSONError.self) { try JSONReader.value(of: [0x22] + bad + [0x22]) }
        }
    }

    @Test func `an error names line and column`() {
        #expect(throws: JSONError.self) { try read("{\n  \"a\": 1,\n  \"b\": x\n}") }
        do throws(JSONError) { _ = try read("{\n  \"a\": 1,\n  \"b\": x\n}") } catch {
            #expect(error.line == 3)
            #expect(error.column == 8)
        }
    }

    @Test func `nesting has a bound`() throws {
        let deep = JSONReader.maximumDepth
        _ = try read(String(repeating: "[", count: deep) + String(repeating: "]", count: deep))
        #expect(throws: JSONError.self) { try read(String(repeating: "[", count: deep + 1)) }
    }

    @Test(arguments: ["{}", "[]", "[1,\"a\\\"b\",{\"k\":null}]", "\"\\u0001\"", "-0.1", "1e300"])
    func `what was written reads back the same`(_ text: String) throws {
        let value = try read(text)
        #expect(try JSONReader.value(of: value.bytes) == value)
    }

    @Test func `a text on one line keeps its strings`() {
        let line = onOneLine(Array("{\n \"a\" : \"x \\\" \\n y\",\r\n\t\"b\": [1, 2]}".utf8))
        #expect(String(decoding: line, as: UTF8.self) == "{\"a\":\"x \\\" \\n y\",\"b\":[1,2]}")
    }
}

@Suite struct JSONWriterTests {
    @Test func `numbers are as short as they can be`() {
        func text(_ write: (inout [UInt8]) -> Void) -> String {
            var bytes: [UInt8] = []
            write(&bytes)
            return String(decoding: bytes, as: UTF8.self)
        }
        #expect(text { $0.append(integer: .min) } == "-9223372036854775808")
        #expect(text { $0.append(number: 0.1) } == "0.1")
        #expect(text { $0.append(number: 3) } == "3")
        #expect(text { $0.append(number: .nan) } == "null")
        #expect(text { $0.append(seconds: 1_500_000_000) } == "1.5")
        #expect(text { $0.append(seconds: 42_000) } == "0.000042")
        #expect(text { $0.append(seconds: -5) } == "0")
        #expect(text { $0.append(seconds: 499) } == "0")
        #expect(text { $0.append(seconds: 100_000_000) } == "0.1")
        #expect(text { $0.append(seconds: 12_000_001_000) } == "12.000001")
        #expect(text { $0.append(seconds: 3_999_999_999) } == "4")
        #expect(text { $0.append(seconds: 1_230_450_000) } == "1.23045")
    }
}

@Suite struct JSONSchemaTests {
    private func violations(_ schema: JSONValue, _ value: JSONValue) throws -> [String] {
        try JSONSchema(schema).violations(in: value).map { "\($0.pointer): \($0.detail)" }
    }

    @Test func `each violation is named by its pointer`() throws {
        let schema: JSONValue = [
            "type": "object", "required": ["limit"], "additionalProperties": false,
            "properties": [
                "limit": ["type": "integer", "minimum": 1], "tags": ["items": ["type": "string"], "maxItems": 2],
            ],
        ]
        #expect(try violations(schema, ["limit": 5, "tags": ["a"]]) == [])
        #expect(try violations(schema, ["limit": 5.0]) == [])
        #expect(try violations(schema, [:]) == ["/limit: is required"])
        #expect(try violations(schema, ["limit": 0]) == ["/limit: must be at least 1"])
        #expect(try violations(schema, ["limit": 1.5]) == ["/limit: expected integer, got number"])
        #expect(try violations(schema, ["limit": 1, "limt": 2]) == ["/limt: unknown member; did you mean \"limit\"?"])
        #expect(
            try violations(schema, ["limit": 1, "tags": ["a", 2, "c"]]) == [
                "/tags: must have at most 2 items", "/tags/1: expected string, got integer",
            ])
        #expect(try violations(schema, ["limit": 1, "a/b~": 1]) == ["/a~1b~0: unknown member"])
    }

    @Test func `a keyword that is not checked is refused`() {
        #expect(throws: SchemaError.self) { try JSONSchema(["patternProperties": [:]]) }
        #expect(throws: SchemaError.self) { try JSONSchema(["properties": ["a": ["type": "text"]]]) }
        #expect(throws: SchemaError.self) { try JSONSchema(["minimum": "1"]) }
    }

    @Test func `a mistyped word finds its neighbour`() {
        #expect(nearest(to: "primez", among: ["primes", "pi"]) == "primes")
        #expect(nearest(to: "tiemout", among: ["timeout", "task"]) == "timeout")
        #expect(nearest(to: "xyz", among: ["primes", "pi"]) == nil)
    }
}
