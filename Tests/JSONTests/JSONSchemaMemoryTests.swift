import Glibc
import Testing

@testable import JSON

@Suite(.serialized) struct JSONSchemaMemoryTests {
    /// Resident memory of this process, in bytes. Source: proc(5), /proc/pid/statm.
    private func resident() throws -> Int {
        let file = try #require(fopen("/proc/self/statm", "r"))
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 256)
        try #require(fgets(&line, 256, file) != nil)
        let words = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            .split(separator: " ")
        return try #require(Int(words[1])) * sysconf(CInt(_SC_PAGESIZE))
    }

    @Test func `a schema that is dropped is gone, also one that refers to itself`() throws {
        let text = #"""
            {"type":"object","properties":{"left":{"$ref":"#"},"right":{"$ref":"#/$defs/leaf"},"also":{"$ref":"#/$defs/tree"}},
             "$defs":{"leaf":{"type":"integer"},"tree":{"properties":{"child":{"$ref":"#/$defs/tree"}}}}}
            """#
        let source = try JSONReader.value(of: Array(text.utf8))
        let value = try JSONReader.value(of: Array(#"{"also":{"child":{"child":{}}},"left":{"right":"x"}}"#.utf8))
        func once() throws {
            let schema = try JSONSchema(source)
            #expect(schema.violations(in: value).map(\.pointer) == ["/left/right"])
        }
        for _ in 0..<200 { try once() }
        let before = try resident()
        for _ in 0..<10_000 { try once() }
        let grown = try resident() - before
        // What other tests take at this moment is in it too; a leak would be twice that.
        #expect(grown < 16 << 20, "\(grown) bytes more after 10,000 schemas of some kB each")
    }
}
