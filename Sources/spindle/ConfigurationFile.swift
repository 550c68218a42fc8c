import EventLoop
import Glibc
import JSON
import Pools
import TOMLKit

/// The file of `--config`: TOML.
struct ConfigurationFile {
    /// In bytes.
    private static let longest = 4 << 20

    let path: String
    /// Where the file is: programs that are named by a relative path stand beside it.
    let directory: String
    let root: ConfigurationTable

    /// - Throws: A failure that names the place of what is no TOML.
    init(_ path: String) throws {
        guard let bytes = wholeFile(path, atMost: Self.longest), let resolved = realpath(path, nil) else {
            throw CommandFailure(.usage, "cannot read the configuration \(path): \(String(cString: strerror(errno)))")
        }
        defer { free(resolved) }
        let whole = String(cString: resolved)
        self.path = path
        directory = whole.cut(atLast: "/").map { String($0.before) } ?? "."
        guard TOMLTrial.isSurvived(bytes) else {
            throw CommandFailure(.usage, "\(path) is no TOML: a value or a name is missing, or it never ends")
        }
        let text = String(decoding: bytes, as: UTF8.self)
        let table: TOMLTable
        do {
            table = try TOMLTable(string: text)
        } catch let error as TOMLParseError {
            throw CommandFailure(.usage, "\(path), \(error.source.begin.debugDescription): \(error.description)")
        }
        let source = ConfigurationSource(path: path, directory: directory, text: text)
        try source.refuseDates(in: table, at: [])
        do throws(JSONError) {
            let value = try JSONReader.value(of: Array(table.convert(to: .json).utf8))
            root = ConfigurationTable(source, at: [], value)
        } catch {
            throw CommandFailure(.usage, "\(path): a value has no meaning here: \(error)")
        }
    }
}

/// Where values of a configuration come from, for those who say what is wrong with them.
struct ConfigurationSource {
    let path: String
    let directory: String
    let text: String

    func wrong(_ place: [String], _ why: String) -> CommandFailure {
        let line = line(of: place).map { ", line \($0)" } ?? ""
        return CommandFailure(.usage, "\(path)\(line): \(place.joined(separator: ".")) \(why)")
    }

    /// Where a key stands, from 1: the line that names most of its parts.
    private func line(of place: [String]) -> Int? {
        let place = place.flatMap { parts($0.cut(at: "[")?.before ?? $0[...]) }
        var table: [String] = []
        var best: (line: Int, parts: Int)?
        for (index, line) in text.parts(at: "\n", keepingEmpty: true).enumerated() {
            let words = Substring(line.utf8.drop { $0 == 0x20 || $0 == 0x09 })
            var named = table
            if words.begins(with: "[") {
                let name = Substring(words.utf8.drop { $0 == UInt8(ascii: "[") })
                table = parts(name.cut(at: "]")?.before ?? name)
                named = table
            } else if let (key, _) = words.cut(at: "="), !words.begins(with: "#") {
                named += parts(key)
            } else {
                continue
            }
            let common = min(place.count, named.count)
            guard place.prefix(common).elementsEqual(named.prefix(common)), common > best?.parts ?? 0 else { continue }
            best = (index + 1, common)
        }
        return best?.line
    }

    private func parts(_ dotted: Substring) -> [String] {
        dotted.parts(at: ".").map { $0.without("\"", "'", " ", "\t", "\r") }
    }

    /// Dates and what is no number have no meaning anywhere here, and would become texts on the way.
    func refuseDates(in table: TOMLTable, at place: [String]) throws {
        for (key, value) in table { try refuseDates(in: value, at: place + [key]) }
    }

    private func refuseDates(in value: any TOMLValueConvertible, at place: [String]) throws {
        switch value.type {
        case .table: if let table = value.table { try refuseDates(in: table, at: place) }
        case .array:
            for (index, element) in (value.array ?? TOMLArray()).enumerated() {
                try refuseDates(in: element, at: place.dropLast() + ["\(place.last ?? "")[\(index)]"])
            }
        case .date, .time, .dateTime: throw wrong(place, "is a \(value.type); write it as a text, in quotes")
        case .double:
            guard value.double?.isFinite ?? true else { throw wrong(place, "is no finite number") }
        case .string, .int, .bool: break
        }
    }
}

/// A table of the file. Its values are asked for by name and type, and refused with their place when they are of another.
struct ConfigurationTable {
    private let source: ConfigurationSource
    private let place: [String]
    private let value: JSONValue

    fileprivate init(_ source: ConfigurationSource, at place: [String], _ value: JSONValue) {
        self.source = source
        self.place = place
        self.value = value
    }

    var path: String { source.path }
    var directory: String { source.directory }
    var keys: [String] { value.members.map(\.key) }

    func wrong(_ why: String) -> CommandFailure { source.wrong(place, why) }
    func wrong(_ key: String, _ why: String) -> CommandFailure { source.wrong(place + [key], why) }

    func allow(only known: [String]) throws {
        for key in keys where !known.contains(key) {
            let near = nearest(to: key, among: known).map { "; did you mean \"\($0)\"?" } ?? ""
            throw wrong(key, "is an unknown key" + near)
        }
    }

    func json(_ key: String) -> JSONValue? { value[key] }

    func tables(_ key: String) throws -> [(name: String, table: ConfigurationTable)] {
        guard let found = value[key] else { return [] }
        guard case .object(let members) = found else { throw mismatch(key, "a table", found) }
        return try members.map { member in
            guard case .object = member.value else { throw mismatch("\(key).\(member.key)", "a table", member.value) }
            return (member.key, ConfigurationTable(source, at: place + [key, member.key], member.value))
        }
    }

    func text(_ key: String) throws -> String? { try read(key, "a text, in quotes") { $0.string } }
    func flag(_ key: String) throws -> Bool? { try read(key, "true or false") { $0.bool } }
    func whole(_ key: String) throws -> Int? { try read(key, "a whole number") { $0.integer } }

    /// A list of texts; one text alone counts as a list where `orOne` is set.
    func texts(_ key: String, orOne: Bool = false) throws -> [String]? {
        guard let found = value[key] else { return nil }
        if orOne, let text = found.string { return [text] }
        guard case .array(let elements) = found else { throw mismatch(key, "a list of texts", found) }
        return try elements.enumerated().map { index, element in
            guard let text = element.string else { throw mismatch("\(key)[\(index)]", "a text, in quotes", element) }
            return text
        }
    }

    /// A table whose values are texts.
    func variables(_ key: String) throws -> Environment {
        var texts = Environment()
        guard let found = value[key] else { return texts }
        guard case .object(let members) = found else { throw mismatch(key, "a table of texts", found) }
        for member in members {
            guard let text = member.value.string else {
                throw mismatch("\(key).\(member.key)", "a text, in quotes", member.value)
            }
            texts[member.key] = text
        }
        return texts
    }

    func read<Value>(_ key: String, _ what: String, _ convert: (JSONValue) throws -> Value?) throws -> Value? {
        guard let found = value[key] else { return nil }
        guard let value = try convert(found) else { throw mismatch(key, what, found) }
        return value
    }

    private func mismatch(_ key: String, _ wanted: String, _ found: JSONValue) -> CommandFailure {
        let shown = String(decoding: found.bytes.prefix(60), as: UTF8.self)
        return wrong(key, "must be \(wanted), not \(found.typeName) \(shown)")
    }
}
