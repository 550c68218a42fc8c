import EventLoop
import Jobs

extension Progress {
    /// Reads a line that may have been drawn several times, each time behind a carriage return: the last one counts.
    ///
    /// - Returns: nil when not all that was drawn are directives.
    init?(drawn line: String) {
        guard line.holds("\r") else {
            self.init(directive: line)
            return
        }
        let drawn = line.parts(at: "\r").map { Progress(directive: String($0)) }
        guard let last = drawn.last, let last, drawn.allSatisfy({ $0 != nil }) else { return nil }
        self = last
    }

    /// Reads a line like `::progress 42/100 message`, or `::progress 42`.
    ///
    /// - Returns: nil for any other line: it is the program's own, and is shown in the log.
    init?(directive line: String) {
        guard line.begins(with: "::progress ") else { return nil }
        let words = line.parts(at: " ", most: 3)
        guard words.count > 1, !words[1].holds("x"), !words[1].holds("X") else { return nil }
        let numbers = words[1].parts(at: "/", keepingEmpty: true).map { Double($0) }
        guard (1...2).contains(numbers.count), let done = numbers[0], done.isFinite, done >= 0 else { return nil }
        var total: Double?
        if numbers.count == 2 {
            guard let given = numbers[1], given.isFinite, given > 0 else { return nil }
            total = given
        }
        self.init(done, of: total, message: words.count > 2 ? String(words[2]) : nil)
    }
}
