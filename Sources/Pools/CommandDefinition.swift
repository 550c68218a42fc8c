import EventLoop
import JSON

/// A program that a task runs: an argument list with placeholders, never a shell's line.
package struct CommandDefinition: Sendable {
    package enum ResultFormat: String, Sendable {
        /// stdout as a JSON string.
        case text
        /// stdout parsed as JSON.
        case json
    }

    /// The program and its arguments. `{name}` stands for a member of the input, `{a.b}` for a member of a member; a
    /// placeholder fills whole or part of one argument, never more.
    package let argv: [String]
    package let result: ResultFormat
    /// Over the program's output; its first group is a percentage.
    package let progress: Pattern?
    /// Parameters whose value may begin with `-`.
    package let mayBeginWithDash: Set<String>
    /// What stands for a member that the input leaves out.
    package let defaults: JSONValue
    /// Environment variables beyond the allow-list.
    package let environment: Environment
    /// Whether its standard input is a pipe that clients write to; else it is empty.
    package let takesInput: Bool

    package init(
        argv: [String], result: ResultFormat = .text, progress: Pattern? = nil, mayBeginWithDash: Set<String> = [],
        defaults: JSONValue = .object([]), environment: Environment = Environment(), takesInput: Bool = false
    ) {
        self.argv = argv
        self.result = result
        self.progress = progress
        self.mayBeginWithDash = mayBeginWithDash
        self.defaults = defaults
        self.environment = environment
        self.takesInput = takesInput
    }

    /// Fills the placeholders.
    ///
    /// - Throws: ``TaskFailure`` of type `InvalidInput` naming the parameter: missing, no plain value, or beginning
    ///   with `-` where that is not allowed.
    package func arguments(for input: JSONValue) throws(TaskFailure) -> [String] {
        var filled: [String] = []
        for argument in argv { filled.append(try fill(argument, from: input)) }
        return filled
    }

    private func fill(_ argument: String, from input: JSONValue) throws(TaskFailure) -> String {
        var text = ""
        for part in Self.parts(of: argument) {
            switch part {
            case .literal(let literal): text += literal
            case .placeholder(let name): text += try value(of: name, in: input, atStart: text.isEmpty)
            }
        }
        return text
    }

    private enum Part {
        case literal(Substring)
        case placeholder(String)
    }

    private static func isOfName(_ byte: UInt8) -> Bool {
        let letter = byte | 0x20
        return letter >= UInt8(ascii: "a") && letter <= UInt8(ascii: "z")
            || byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
            || byte == UInt8(ascii: "_") || byte == UInt8(ascii: ".")
    }

    /// Braces hold a placeholder when a name stands in them; any others are text.
    private static func parts(of argument: String) -> [Part] {
        var parts: [Part] = []
        var literal = argument.startIndex
        var rest = argument[...]
        while let (before, inside) = rest.cut(at: "{"), let (name, after) = inside.cut(at: "}") {
            rest = inside
            guard !name.isEmpty, name.utf8.allSatisfy(isOfName) else { continue }
            parts += [.literal(argument[literal..<before.endIndex]), .placeholder(String(name))]
            rest = after
            literal = after.startIndex
        }
        return parts + [.literal(argument[literal...])]
    }

    /// The names of the input's members that the placeholders use, each once.
    package var parameters: [String] {
        var names: [String] = []
        for argument in argv {
            for case .placeholder(let name) in Self.parts(of: argument) {
                let steps = name.parts(at: ".").filter { $0 != "input" }
                if let first = steps.first, !names.contains(String(first)) { names.append(String(first)) }
            }
        }
        return names
    }

    private func value(of name: String, in input: JSONValue, atStart: Bool) throws(TaskFailure) -> String {
        func member(of start: JSONValue) -> JSONValue? {
            var value: JSONValue? = start
            for step in name.parts(at: ".") where step != "input" || name == "input" {
                value = value?[String(step)]
            }
            return value
        }
        guard let value = member(of: input) ?? member(of: defaults) else {
            throw TaskFailure(type: "InvalidInput", message: "\"\(name)\" is missing", canRetry: false)
        }
        let text: String
        switch value {
        case .string(let string): text = string
        case .integer, .decimal, .bool: text = String(decoding: value.bytes, as: UTF8.self)
        case .null, .array, .object:
            throw TaskFailure(type: "InvalidInput", message: "\"\(name)\" is no text, number or flag", canRetry: false)
        }
        if atStart, text.begins(with: "-"), !mayBeginWithDash.contains(name) {
            throw TaskFailure(type: "InvalidInput", message: "\"\(name)\" may not begin with -", canRetry: false)
        }
        guard !text.utf8.contains(0) else {
            throw TaskFailure(type: "InvalidInput", message: "\"\(name)\" holds a NUL", canRetry: false)
        }
        return text
    }
}
