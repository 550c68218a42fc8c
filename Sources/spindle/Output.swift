import Glibc

/// Prints a line on standard output, at once.
///
/// Where it cannot be written, because the reader has gone or the disk is full, the command ends: what nobody gets is not
/// worth going on for, and must not look like success.
func emit(_ text: String) {
    let line = Array((isatty(STDOUT_FILENO) == 1 ? shownOnTerminal(text) : text).utf8) + [0x0A]
    var start = 0
    while start < line.count {
        let count = line.withUnsafeBytes { write(STDOUT_FILENO, $0.baseAddress! + start, $0.count - start) }
        if count < 0, errno == EAGAIN {
            var wish = pollfd(fd: STDOUT_FILENO, events: Int16(POLLOUT), revents: 0)
            poll(&wish, 1, -1)
        } else if count < 0, errno != EINTR {
            CommandFailure(.jobFailed, "cannot write to standard output: \(String(cString: strerror(errno)))").end()
        }
        start += max(count, 0)
    }
}

/// Writes a line to stderr.
func say(_ text: String) {
    let line = Array((isatty(STDERR_FILENO) == 1 ? shownOnTerminal(text) : text).utf8) + [0x0A]
    line.withUnsafeBytes { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
}

/// Control bytes as escapes: what a job says must not move the cursor of whoever looks at a table.
func visible(_ text: String) -> String {
    var shown = ""
    for scalar in text.unicodeScalars {
        switch scalar.value {
        case 0x0A: shown += "\\n"
        case 0x09: shown += "\\t"
        case 0..<0x20, 0x7F..<0xA0: shown += "\\u{\(String(scalar.value, radix: 16))}"
        default: shown.unicodeScalars.append(scalar)
        }
    }
    return shown
}

/// What the commands end with.
enum ExitStatus: CInt {
    case success = 0
    case jobFailed = 1
    case usage = 2
    case noServer = 3
    case refused = 4
    /// Source: sysexits.h, EX_IOERR.
    case diskFailed = 74
    /// Later there may be room. Source: sysexits.h, EX_TEMPFAIL.
    case diskFull = 75
    case interrupted = 130
}

/// Ends a command with a message on stderr.
struct CommandFailure: Error, CustomStringConvertible {
    let code: ExitStatus
    let message: String
    var description: String { message }

    init(_ code: ExitStatus, _ message: String) {
        self.code = code
        self.message = message
    }

    func end() -> Never {
        say("spindle: \(message)")
        Glibc.exit(code.rawValue)
    }
}
