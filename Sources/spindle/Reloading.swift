import EventLoop
import Pools
import Server

/// What SIGHUP reads again: files, one of them with another process's help. It takes as long as the disk does, and the loop
/// has no time for that.
// Guard: made before its thread and used by that alone; what was read is the loop's from then on.
final class Reloading: @unchecked Sendable {
    // Guard: nobody else has it.
    struct Found: @unchecked Sendable {
        let settings: Settings
        let fleets: [WorkerFleet]
        /// nil: the server asks for none.
        let tokens: Tokens?
    }

    private let settings: () throws -> Settings
    private let setup: ServerSetup
    private let errands = Errands("reload")

    init(_ setup: ServerSetup, _ settings: @escaping () throws -> Settings) {
        self.setup = setup
        self.settings = settings
    }

    /// Reads all of it, after what was asked for before.
    func read(on loop: EventLoop, then done: @escaping (Result<Found, any Error>) -> Void) {
        errands.run(on: loop) { [self] in
            Result { try find() }
        } then: {
            done($0)
        }
    }

    private func find() throws -> Found {
        let new = try settings()
        return Found(settings: new, fleets: try setup.fleets(new), tokens: try setup.tokenFile?.again())
    }
}
