import EventLoop
import HTTP

/// Counts the answers of one route, and how long they took to begin.
final class RouteMeter: AnswerMeter {
    let method: String
    let route: String
    /// A route has few.
    private(set) var statuses: [(status: Int, count: UInt64)] = []
    private(set) var seconds = Buckets()

    init(_ method: String, _ route: String) {
        self.method = method
        self.route = route
    }

    func answered(_ status: Int, since began: Int64) {
        seconds.note(Double(monotonicNanoseconds() - began) / 1e9)
        if let index = statuses.firstIndex(where: { $0.status == status }) {
            statuses[index].count += 1
        } else {
            statuses.append((status, 1))
        }
    }
}

extension PrometheusText {
    /// - Parameter refused: By status: what was answered before any route was looked for.
    mutating func append(_ meters: [RouteMeter], refused: [Int: UInt64]) {
        let answered = meters.flatMap { meter in
            meter.statuses.sorted { $0.status < $1.status }.map {
                ([("method", meter.method), ("route", meter.route), ("status", "\($0.status)")], Double($0.count))
            }
        }
        family(
            "spindle_http_requests_total", "counter",
            "Requests answered, by route and status; route refused: before one was looked for.",
            answered
                + refused.sorted { $0.key < $1.key }.map {
                    ([("method", "none"), ("route", "refused"), ("status", "\($0.key)")], Double($0.value))
                })
        histogram(
            "spindle_http_request_seconds", "From the end of a request to the beginning of its answer, by route.",
            meters.filter { $0.seconds.total > 0 }.map {
                ([("method", $0.method), ("route", $0.route)], $0.seconds)
            })
    }
}
