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
    /// A regular expression over the program's output whose first group is a percentage.
    package let progress: String?
    /// Parameters whose value may begin with `-`.
    package let mayBeginWithDash: Set<String>
    /// Environment variables beyond the allow-list.
    package let environment: [String: String]

    package init(
        argv: [String], result: ResultFormat = .text, progress: String? = nil, mayBeginWithDash: Set<String> = [],
        environment: [String: String] = [:]
    ) {
        self.argv = argv
        self.result = result
        self.progress = progress
        self.mayBeginWithDash = mayBeginWithDash
        self.environment = environment
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
        var rest = argument[...]
        while let open = rest.firstIndex(of: "{") {
            guard let close = rest[open...].firstIndex(of: "}") else { break }
            text += rest[..<open]
            text += try value(of: String(rest[rest.index(after: open)..<close]), in: input, atStart: text.isEmpty)
            rest = rest[rest.index(after: close)...]
        }
        return text + rest
    }

    private func value(of name: String, in input: JSONValue, atStart: Bool) throws(TaskFailure) -> String {
        var value: JSONValue? = input
        for step in name.split(separator: ".") where step != "input" || name == "input" { value = value?[String(step)] }
        let text: String
        switch value {
        case .string(let string): text = string
        case .integer, .number, .bool: text = String(decoding: value!.bytes, as: UTF8.self)
        case .null, .array, .object, nil:
            throw TaskFailure(type: "InvalidInput", message: "\"\(name)\" is no text, number or flag", canRetry: false)
        }
        if atStart, text.hasPrefix("-"), !mayBeginWithDash.contains(name) {
            throw TaskFailure(type: "InvalidInput", message: "\"\(name)\" may not begin with -", canRetry: false)
        }
        guard !text.utf8.contains(0) else {
            throw TaskFailure(type: "InvalidInput", message: "\"\(name)\" holds a NUL", canRetry: false)
        }
        return text
    }
}
