import CSpindle
import EventLoop
import Glibc
import TOMLKit

/// The parser of TOML ends its process at some texts that are no TOML: it takes them for faults of its own. A server that
/// is told to read its file again is not to end by that: another process tries first.
enum TOMLTrial {
    static let name = "__toml"

    /// In milliseconds; what takes longer is no configuration either.
    private static let patience: CInt = 10_000

    /// Whether a process survives the text. Where no process can be had, nobody knows, and it is taken to.
    static func isSurvived(_ text: [UInt8]) -> Bool {
        guard let question = Pipe(), let answer = Pipe() else { return true }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, question.reading.number, STDIN_FILENO)
        posix_spawn_file_actions_adddup2(&actions, answer.writing.number, STDOUT_FILENO)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)
        var arguments: [UnsafeMutablePointer<CChar>?] = [strdup("spindle"), strdup(name), nil]
        // Its end is expected: nobody is to be told where it was.
        var variables: [UnsafeMutablePointer<CChar>?] = [strdup("SWIFT_BACKTRACE=enable=no"), nil]
        defer { for text in arguments + variables { free(text) } }
        var pid: pid_t = 0
        guard posix_spawn(&pid, "/proc/self/exe", &actions, nil, &arguments, &variables) == 0 else { return true }
        let process = Descriptor(ifOpen: spindle_pidfd_open(pid))
        let reading = answer.intoReading()
        let isAnswered = converse(text, question.intoWriting(), reading)
        // By what holds it: in a server others wait for children too, and its number may be another's by now.
        if let process { _ = spindle_pidfd_signal(process.number, SIGKILL) }
        waitpid(pid, nil, 0)
        return isAnswered
    }

    /// Writes the text and waits for the one byte that comes once it has been read.
    private static func converse(_ text: [UInt8], _ end: consuming Descriptor, _ answer: borrowing Descriptor) -> Bool {
        guard end.write(all: text) else { return false }
        _ = consume end
        var wish = pollfd(fd: answer.number, events: Int16(POLLIN), revents: 0)
        var byte: UInt8 = 0
        return poll(&wish, 1, patience) == 1 && read(answer.number, &byte, 1) == 1
    }

    private struct Pipe: ~Copyable {
        let reading: Descriptor
        let writing: Descriptor

        init?() {
            var ends: (CInt, CInt) = (-1, -1)
            let code = withUnsafeMutableBytes(of: &ends) { spindle_pipe($0.bindMemory(to: CInt.self).baseAddress) }
            guard code == 0 else { return nil }
            reading = Descriptor(owning: ends.0)
            writing = Descriptor(owning: ends.1)
            // Written to by somebody who waits for room.
            _ = (fcntl(reading.number, F_SETFL, 0), fcntl(writing.number, F_SETFL, 0))
        }

        /// One end; the other is closed.
        consuming func intoReading() -> Descriptor { reading }
        consuming func intoWriting() -> Descriptor { writing }
    }

    /// In the other process: reads, and says so. TOML or not, it has been survived.
    static func run() -> Never {
        let text = String(decoding: readAll(STDIN_FILENO) ?? [], as: UTF8.self)
        // What is wrong with it is said where it is read for good.
        _ = try? TOMLTable(string: text).convert(to: .json)
        var byte = UInt8(ascii: "+")
        write(STDOUT_FILENO, &byte, 1)
        exit(0)
    }
}
