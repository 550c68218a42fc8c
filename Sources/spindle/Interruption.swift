import CSpindle
import EventLoop
import Glibc

/// Ctrl-C: the first one is an event of the loop, any further one ends the process at once, whatever it does.
final class Interruption {
    /// A pipe, which the handler of the signal writes to.
    private let reading: Descriptor
    private let writing: Descriptor
    private var watch: Watch?
    /// The command ends with 130 from now on, however it ends.
    private(set) var hasCome = false

    init(on loop: EventLoop, fire: @escaping () -> Void) throws {
        var ends: [CInt] = [-1, -1]
        guard spindle_pipe(&ends) == 0 else { throw LoopError(.outOfMemory, call: "pipe") }
        reading = Descriptor(owning: ends[0])
        writing = Descriptor(owning: ends[1])
        let watch = try Watch(ends[0], for: .readable, on: loop) { [unowned self] _ in
            guard !hasCome else { return }
            hasCome = true
            self.watch?.pause()
            fire()
        }
        try watch.start()
        self.watch = consume watch
        spindle_watch_interrupts(ends[1])
    }

    deinit { watch = nil }
}

/// Runs an async command on a loop of its own, which is this thread, and ends the process with its status.
///
/// - Parameter interrupted: Called on the first Ctrl-C, before the process ends with 130.
func runOnLoop(
    _ options: ClientOptions, interrupted: @escaping @Sendable (Client) async -> Void = { _ in },
    _ body: @escaping @Sendable (Client) async throws -> ExitStatus
) throws -> Never {
    let loop = try EventLoop()
    loop.adopt()
    let client = LoopBound(try Client(options, on: loop), on: loop)
    let interruption = try Interruption(on: loop) {
        // Ends with the process: nothing outlives it.
        Task(executorPreference: loop) {
            await interrupted(client.value)
            Glibc.exit(ExitStatus.interrupted.rawValue)
        }
    }
    let bound = LoopBound(interruption, on: loop)
    // Ends with the process, as above.
    Task(executorPreference: loop) {
        var failure: CommandFailure?
        var status = ExitStatus.success
        do {
            status = try await body(client.value)
        } catch let known as CommandFailure {
            failure = known
        } catch let lost as LostConnection {
            failure = CommandFailure(.noServer, lost.description)
        } catch {
            failure = CommandFailure(.jobFailed, "\(error)")
        }
        // What the interruption is doing, a cancellation say, may be what has ended the body.
        if bound.value.hasCome { return }
        failure?.end()
        Glibc.exit(status.rawValue)
    }
    loop.run()
    Glibc.exit(0)
}
