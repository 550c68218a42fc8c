import Glibc
import Jobs

/// How long something took in the last five to ten seconds, as quantiles.
///
/// Counts in buckets that grow by an eighth of an octave: an answer is at most 9 % off. Adding one costs a few
/// instructions.
struct LatencyWindow {
    private static let octaves = 38
    private static let half: Int64 = 5_000_000_000

    private var current = [UInt32](repeating: 0, count: octaves * 8)
    private var last = [UInt32](repeating: 0, count: octaves * 8)
    private var turned: Int64 = 0

    /// - Parameters:
    ///   - nanoseconds: What it took.
    ///   - now: In nanoseconds, by the server's clock.
    mutating func note(_ nanoseconds: Int64, at now: Int64) {
        turn(now)
        current[Self.bucket(nanoseconds)] += 1
    }

    /// Quantiles in seconds; nil where nothing was noted.
    mutating func quantiles(_ wanted: [Double], at now: Int64) -> [Double?] {
        turn(now)
        var total = 0
        for index in current.indices { total += Int(current[index]) + Int(last[index]) }
        return wanted.map { quantile in
            guard total > 0 else { return nil }
            var left = Int(saturating: (Double(total) * quantile).rounded(.up))
            for index in current.indices {
                left -= Int(current[index]) + Int(last[index])
                if left <= 0 { return Self.seconds(index) }
            }
            return nil
        }
    }

    private mutating func turn(_ now: Int64) {
        // The clock may have been set: then nothing of before is recent.
        let passed = now < turned ? 2 * Self.half : now - turned
        guard passed >= Self.half else { return }
        let isRecent = passed < 2 * Self.half
        swap(&current, &last)
        for index in current.indices { current[index] = 0 }
        if !isRecent { for index in last.indices { last[index] = 0 } }
        turned = now
    }

    /// The three bits below the highest one choose within the octave.
    private static func bucket(_ nanoseconds: Int64) -> Int {
        let value = UInt64(max(nanoseconds, 1024)) >> 7
        let octave = 63 - value.leadingZeroBitCount
        return min((octave - 3) * 8 + Int(value >> UInt64(octave - 3) & 7), octaves * 8 - 1)
    }

    /// The middle of a bucket.
    private static func seconds(_ bucket: Int) -> Double {
        let octave = bucket / 8
        // Bounded: there are few buckets.
        return Double(UInt64(bucket % 8 + 8) << UInt64(octave + 7)) * (1 + 1.0 / 24) / 1e9
    }
}
