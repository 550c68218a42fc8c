import Glibc
import Testing

@testable import Jobs

/// `SPINDLE_HISTORIES` sets how many histories are played (10,000), `SPINDLE_SEED` plays one again.
@Suite struct SimulationTests {
    @Test func `every accepted job ends exactly once, whatever the history`() throws {
        if let seed = environment("SPINDLE_SEED") {
            var simulation = Simulation(seed: seed)
            return try simulation.play(steps: 120)
        }
        for seed in 1...(environment("SPINDLE_HISTORIES") ?? 10_000) {
            var simulation = Simulation(seed: seed)
            try simulation.play(steps: Int(20 + seed % 100))
        }
    }

    @Test func `without a disk too, and nobody waits on when the server has stopped`() throws {
        if let seed = environment("SPINDLE_SEED") {
            var simulation = Simulation(seed: seed, isDurable: false)
            return try simulation.play(steps: 120)
        }
        for seed in 1...(environment("SPINDLE_HISTORIES") ?? 10_000) / 2 + 1 {
            var simulation = Simulation(seed: seed, isDurable: false)
            try simulation.play(steps: Int(20 + seed % 100))
        }
    }

    @Test func `a pool that counts what a dead worker has done, instead of being told, is found out`() {
        let histories = 1...200 as ClosedRange<UInt64>
        let found = histories.count { seed in
            var simulation = Simulation(seed: seed, telling: .counted)
            do {
                try simulation.play(steps: 120)
                return false
            } catch {
                return true
            }
        }
        #expect(found > 20, "of \(histories.count) histories")
    }

    private func environment(_ name: String) -> UInt64? {
        getenv(name).flatMap { UInt64(String(cString: $0)) }
    }
}
