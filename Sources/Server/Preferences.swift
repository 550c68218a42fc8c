import EventLoop
import HTTP
import Jobs

/// What the client would like, by `Prefer`.
///
/// Source: RFC 7240.
struct Preferences {
    /// A longer wait is cut to this.
    static let longestWait = 300.0

    var wait: Duration?
    var waitText = ""
    var respondsAsync = false

    init(_ head: RequestHead) {
        guard head.has("prefer"), let text = head.values(of: "prefer") else { return }
        for preference in text.parts(at: ",") {
            let parts = preference.parts(at: "=", most: 2).map { $0.without(" ", "\"") }
            switch parts.first?.inLowerCase {
            case "respond-async": respondsAsync = true
            case "wait":
                // A preference that is no number is ignored, as the RFC asks.
                guard parts.count > 1, let seconds = Double(parts[1]), seconds >= 0 else { continue }
                wait = Duration(seconds: min(seconds, Self.longestWait))
                waitText = parts[1]
            default: continue
            }
        }
    }
}

/// Media types in the order in which the client wants them.
///
/// Source: RFC 9110, 12.5.1.
struct Acceptance {
    private let ranges: [(type: String, quality: Double)]

    init(_ head: RequestHead) {
        guard let text = head.values(of: "accept") else {
            ranges = [("*/*", 1)]
            return
        }
        let listed = text.parts(at: ",").compactMap { (range) -> (type: String, quality: Double)? in
            let parts = range.parts(at: ";").map { $0.without(" ", "\t").inLowerCase }
            guard let type = parts.first, !type.isEmpty else { return nil }
            let quality = parts.dropFirst().compactMap { $0.rest(after: "q=") }.first.flatMap { Double($0) }
            return (type, quality ?? 1)
        }
        ranges = listed.isEmpty ? [("*/*", 1)] : listed
    }

    /// The best of `offers`: what is wanted most; among equals what is named, before what a range includes; then the first.
    func best(of offers: [String]) -> String? {
        var best: (offer: String, quality: Double, closeness: Int)?
        for offer in offers {
            guard let (quality, closeness) = wish(for: offer), quality > 0 else { continue }
            if let best, (best.quality, best.closeness) >= (quality, closeness) { continue }
            best = (offer, quality, closeness)
        }
        return best?.offer
    }

    private func wish(for offer: String) -> (quality: Double, closeness: Int)? {
        let group = (offer.cut(at: "/")?.before ?? offer[...]) + "/*"
        for (closeness, wanted) in [(2, offer), (1, String(group)), (0, "*/*")] {
            if let range = ranges.first(where: { $0.type == wanted }) { return (range.quality, closeness) }
        }
        return nil
    }
}
