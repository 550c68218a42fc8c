/// The candidate that a mistyped word most likely meant, by edit distance; nil when none is near.
///
/// Near means: at most a third of the word's length in edits, and at least one.
package func nearest(to word: String, among candidates: [String]) -> String? {
    // Nobody types longer names by hand, and comparing them takes the square of their length.
    guard word.utf8.count <= 64 else { return nil }
    let limit = max(1, word.count / 3)
    let ranked = candidates.lazy.filter { $0.utf8.count <= 64 }.prefix(200).map {
        (name: $0, distance: editDistance(word, $0))
    }
    guard let best = ranked.min(by: { $0.distance < $1.distance }), best.distance <= limit else { return nil }
    return best.name
}

/// Insertions, deletions, substitutions and swaps of neighbours that turn one word into the other
/// (optimal string alignment).
func editDistance(_ from: String, _ to: String) -> Int {
    let from = Array(from.utf8)
    let to = Array(to.utf8)
    guard !from.isEmpty, !to.isEmpty else { return max(from.count, to.count) }
    var beforeLast: [Int] = []
    var last = Array(0...to.count)
    for row in 1...from.count {
        var current = [row]
        for column in 1...to.count {
            let cost = from[row - 1] == to[column - 1] ? 0 : 1
            var distance = min(last[column] + 1, current[column - 1] + 1, last[column - 1] + cost)
            if row > 1, column > 1, from[row - 1] == to[column - 2], from[row - 2] == to[column - 1] {
                distance = min(distance, beforeLast[column - 2] + 1)
            }
            current.append(distance)
        }
        beforeLast = last
        last = current
    }
    return last[to.count]
}
