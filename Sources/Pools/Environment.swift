import Glibc

/// The variables of a process, as bytes: what the server was given goes on as it came, be it UTF-8 or not.
package struct Environment: Sendable {
    private var values: [[UInt8]: [UInt8]] = [:]

    package init() {}

    /// What this process has itself.
    package static var own: Environment {
        var own = Environment()
        var next = environ
        while let entry = next.pointee {
            let bytes = UnsafeRawBufferPointer(start: entry, count: strlen(entry))
            if let end = bytes.firstIndex(of: UInt8(ascii: "=")) {
                own.values[Array(bytes[..<end])] = Array(bytes[(end + 1)...])
            }
            next += 1
        }
        return own
    }

    /// nil for what is not there, and for what is no UTF-8.
    package subscript(name: String) -> String? {
        get { values[Array(name.utf8)].flatMap { String(validating: $0, as: UTF8.self) } }
        set { values[Array(name.utf8)] = newValue.map { Array($0.utf8) } }
    }

    /// Takes a variable as this process has it, if it has it.
    package mutating func inherit(_ name: String) {
        guard let value = getenv(name) else { return }
        values[Array(name.utf8)] = Array(UnsafeRawBufferPointer(start: value, count: strlen(value)))
    }

    package mutating func removeAll(where isUnwanted: (_ name: String) -> Bool) {
        values = values.filter { !isUnwanted(String(decoding: $0.key, as: UTF8.self)) }
    }

    func has(_ name: String) -> Bool { values[Array(name.utf8)] != nil }

    /// With more; what is in both is as `more` says.
    func adding(_ more: [String: String]) -> Environment {
        var all = self
        for (name, value) in more { all[name] = value }
        return all
    }

    /// Each as `NAME=VALUE` with a zero behind it, by name.
    var entries: [[CChar]] {
        values.sorted { $0.key.lexicographicallyPrecedes($1.key) }
            .map { ($0.key + [UInt8(ascii: "=")] + $0.value + [0]).map { CChar(bitPattern: $0) } }
    }
}
