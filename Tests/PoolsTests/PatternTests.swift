import Jobs
import Testing

@testable import Pools

@Suite struct PatternTests {
    private func last(_ pattern: String, _ text: String) throws -> String? {
        let scalars = Array(text.unicodeScalars)
        var steps = 3_000_000
        return try Pattern(pattern).lastMatch(in: scalars, steps: &steps).map { range in
            String(String.UnicodeScalarView(scalars[range]))
        }
    }

    @Test(
        arguments: [
            (#"(\d+)%"#, "3% 17% 42% x", "42"), (#"(\d+(?:\.\d+)?)%"#, "at 12.5% now", "12.5"),
            (#"(\d+) of"#, "none", nil),
            (#"^\[\s*(\d{1,3})%\]"#, "[ 99%] Building", "99"), (#"frame=\s*(?<n>\d+)"#, "frame=  120 fps", "120"),
            (#"(?:a|b)(c)?"#, "b", "b"), (#"(\d+?)(\d*)"#, "123", "1"), ("[█ ]*(\\d+)", "██ 7", "7"),
            ("(?i)DONE (\\d+)", "done 5", "5"),
            (#"x{2,3}(\d)"#, "xx1 xxxx2", "2"), (#"\bat (\d)\b"#, "that 1 at 2", "2"), ("a{x(\\d)", "a{x5", "5"),
            ("()", "", ""),
            (#"([^%]+)%$"#, "1% 2%", " 2"), ("(\\u0041)[\\x41-\\x43]", "AB", "A"),
        ] as [(String, String, String?)])
    func `the first group of the last match counts`(pattern: String, text: String, expected: String?) throws {
        #expect(try last(pattern, text) == expected)
    }

    @Test(arguments: [
        "(", ")", "[", "a**", "*", "(?=a)", "(?<!a)b", #"(a)\1"#, "a{2,1}", "a{1001}", "((a{1000}){1000})", "\\",
        "[z-a]", #"\q"#,
        "[[:digit:]]", String(repeating: "(", count: 100) + String(repeating: ")", count: 100), "a++",
    ])
    func `what cannot be matched in bounded time is refused`(pattern: String) {
        #expect(throws: Pattern.Failure.self) { try Pattern(pattern) }
    }

    @Test(arguments: ["(a+)+$", "(a|aa)+$", "(.*)*x", "(a?){30}a{30}", #"(\d+)%"#, "(x+x+)+y"])
    func `no pattern and no text make matching slow`(pattern: String) throws {
        for letter in ["a", "7", "x"] {
            let scalars = Array(String(repeating: letter, count: 4096).unicodeScalars)
            var steps = 3_000_000
            _ = try Pattern(pattern).lastMatch(in: scalars, steps: &steps)
            #expect(steps > -10_000, "the bound on steps does not hold")
        }
    }

    @Test func `matches are those of the usual way of matching`() throws {
        var random = SeededRandom(seed: 7)
        func pick(_ from: [String]) -> String { from[Int.random(in: 0..<from.count, using: &random)] }
        func part(_ depth: Int) -> String {
            guard depth > 0 else { return pick(["a", "b", ".", "[ab]", "[^a]", "c?"]) }
            switch Int.random(in: 0..<5, using: &random) {
            case 0: return part(depth - 1) + part(depth - 1)
            case 1: return "(?:\(part(depth - 1))|\(part(depth - 1)))"
            // A part that may be empty, repeated: there engines differ in what their groups hold.
            case 2: return pick(["a", "b", "[ab]", "."]) + pick(["*", "+", "?", "*?", "+?", "??", "{1,2}", "{2}"])
            default: return part(depth - 1)
            }
        }
        for _ in 0..<400 {
            let pattern = part(2) + "(" + part(1) + ")" + part(1)
            let usual = try Regex(pattern)
            for _ in 0..<5 {
                let text = (0..<Int.random(in: 0..<9, using: &random)).map { _ in pick(["a", "b", "c"]) }.joined()
                let expected = text.matches(of: usual).last.flatMap { $0.output[1].substring.map(String.init) }
                #expect(try last(pattern, text) == expected, "\(pattern) on \(text)")
            }
        }
    }
}
