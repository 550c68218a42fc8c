import HTTP
import Jobs
import Pools
import Store

package enum StoreChoice: Sendable, Equatable {
    /// Nothing survives the server.
    case memory
    /// A file on a disk of this machine.
    case file(String)
}

/// Everything that can be set about a server.
package struct ServerOptions: Sendable {
    package var addresses: [ListenAddress] = []
    /// Sockets that were open before the server.
    package var inherited: [InheritedSocket] = []
    package var loops = 1
    package var threads = 1
    package var processes = 1
    /// Async attempts on the loop at once.
    package var loopSlots = 4096
    /// The programs of warm workers.
    package var fleets: [WorkerFleet] = []
    /// Where children have their working directories; nil: nothing can be started.
    package var work: WorkDirectory?
    package var childLimits = ChildLimits()
    /// Who may do what; nil switches the check off.
    package var tokens: Tokens?
    /// Names beyond the loopback ones that a Host may have.
    package var allowedHosts: [String] = []
    /// Serve the dashboard's files from here instead of the built-in copy.
    package var publicDirectory: String?
    package var tls: TLSIdentity?
    package var limits = Limits()
    /// Where jobs are kept.
    package var store = StoreChoice.memory
    package var retention = Retention()
    /// How long to wait for another server that still owns the store, in seconds.
    package var storePatience = 0
    /// After the first signal, how long what runs may still run.
    package var drainTime = Duration.seconds(10)
    /// Where it is kept which attempts have not begun; nil: nowhere.
    var starts: StartList?
    /// The server's name in its store; nil: it has none.
    var owner: String?
    /// Jobs that may wait in one queue.
    package var queueDepth = 100_000
    /// Bytes that all jobs may hold together that have not ended; over it no more are taken.
    package var liveBytes = 1 << 30
    package var version = "0.1.0"

    /// What earlier servers were told of their pools; it holds over what is configured.
    var resized: [PoolName: Int] = [:]

    package init() {}

    /// Attempts that a pool runs at once, as configured.
    func configuredSlots(_ pool: PoolName) -> Int {
        switch pool {
        case .loop: loopSlots
        case .thread: threads
        case .process, .gpu: processes
        }
    }

    func slots(_ pool: PoolName) -> Int { resized[pool] ?? configuredSlots(pool) }
}
