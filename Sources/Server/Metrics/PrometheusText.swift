import JSON

/// Writes metrics in the text format: a family at a time, its samples together.
///
/// Source: Prometheus exposition formats, text format 0.0.4.
struct PrometheusText {
    typealias Labels = [(name: String, value: String)]

    private(set) var bytes: [UInt8] = []

    /// One family. That its samples stand together, and its name once, cannot be done wrong.
    mutating func family(
        _ name: StaticString, _ type: StaticString, _ help: StaticString, _ samples: [(labels: Labels, value: Double)]
    ) {
        begin(name, type, help)
        for sample in samples { append(sample: name, "", sample.labels, sample.value) }
    }

    /// A family of one sample.
    mutating func family(_ name: StaticString, _ type: StaticString, _ help: StaticString, _ value: Double) {
        family(name, type, help, [([], value)])
    }

    mutating func histogram(_ name: StaticString, _ help: StaticString, _ series: [(labels: Labels, Buckets)]) {
        begin(name, "histogram", help)
        for (labels, buckets) in series {
            var total: UInt64 = 0
            for (bound, count) in zip(Buckets.bounds, buckets.counts) {
                total += count
                append(sample: name, "_bucket", labels + [("le", "\(bound.label)")], Double(total))
            }
            append(sample: name, "_bucket", labels + [("le", "+Inf")], Double(buckets.total))
            append(sample: name, "_sum", labels, buckets.sum)
            append(sample: name, "_count", labels, Double(buckets.total))
        }
    }

    private mutating func begin(_ name: StaticString, _ type: StaticString, _ help: StaticString) {
        bytes.append(utf8: "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n")
    }

    private mutating func append(sample name: StaticString, _ suffix: StaticString, _ labels: Labels, _ value: Double) {
        bytes.append(name)
        bytes.append(suffix)
        for (index, label) in labels.enumerated() {
            bytes.append(index == 0 ? "{" : ",")
            bytes.append(utf8: label.name)
            bytes.append("=\"")
            for byte in label.value.utf8 {
                switch byte {
                case UInt8(ascii: "\\"): bytes.append("\\\\")
                case UInt8(ascii: "\""): bytes.append("\\\"")
                case UInt8(ascii: "\n"): bytes.append("\\n")
                default: bytes.append(byte)
                }
            }
            bytes.append("\"")
        }
        if !labels.isEmpty { bytes.append("}") }
        bytes.append(" ")
        bytes.append(number: value)
        bytes.append("\n")
    }
}

/// A histogram with bounds from 100 us to 5 minutes.
struct Buckets {
    static let bounds: [(seconds: Double, label: StaticString)] = [
        (0.0001, "0.0001"), (0.0005, "0.0005"), (0.001, "0.001"), (0.005, "0.005"), (0.01, "0.01"), (0.05, "0.05"),
        (0.1, "0.1"), (0.5, "0.5"), (1, "1"), (5, "5"), (10, "10"), (60, "60"), (300, "300"),
    ]
    private(set) var counts = [UInt64](repeating: 0, count: Buckets.bounds.count + 1)
    private(set) var sum = 0.0

    mutating func note(_ seconds: Double) {
        sum += seconds
        var index = 0
        while index < Self.bounds.count, seconds > Self.bounds[index].seconds { index += 1 }
        counts[index] += 1
    }

    var total: UInt64 { counts.reduce(0, +) }
}
