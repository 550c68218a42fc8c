import EventLoop
import Glibc
import Jobs

extension StartList {
    /// Whose list it is: of a copy of the same store nothing here is true.
    package struct Owner: Sendable {
        let store: String
        let path: String
        let epoch: Int

        /// - Parameters:
        ///   - store: Its name.
        ///   - path: Of its file, without links.
        ///   - epoch: Of the server.
        package init(store: String, path: String, epoch: Int) {
            self.store = store
            self.path = path
            self.epoch = epoch
        }

        var text: String { "spindle starts 1\n\(store)\n\(epoch)\n\(path)\n" }

        init?(_ text: String) {
            let lines = text.parts(at: "\n", most: 4, keepingEmpty: true)
            guard lines.count == 4, lines[0] == "spindle starts 1", let epoch = Int(lines[2]),
                let path = lines[3].rest(before: "\n")
            else { return nil }
            self.init(store: String(lines[1]), path: String(path), epoch: epoch)
        }
    }

    /// What a server that was killed has left: attempts that certainly never began. Its children are dead by now.
    ///
    /// - Parameter owner: Which server that was.
    package static func unbegun(of owner: Owner) -> [AttemptID] {
        var found: [AttemptID] = []
        WorkDirectory.forEachDead(below: root) { directory in
            if let starts = Starts(in: directory), starts.owner.text == owner.text { found += starts.unbegun() }
            return false
        }
        return found
    }

    /// Removes what earlier servers of this store have left, and what belongs to no store any more: what was known by it has
    /// been stored.
    package static func clear(before owner: Owner) {
        WorkDirectory.forEachDead(below: root) { directory in
            guard let starts = Starts(in: directory) else { return true }
            return starts.owner.path == owner.path || access(starts.owner.path, F_OK) != 0
        }
    }
}

/// The list of a server that is gone, and the pages of its workers. Read, not mapped: whatever became of the files.
private struct Starts {
    let owner: StartList.Owner
    private let directory: CInt
    private let bytes: [UInt8]

    init?(in directory: CInt) {
        self.directory = directory
        guard
            let bytes = Self.read(
                StartList.fileName, StartList.headBytes + StartList.cells * StartList.cellBytes, in: directory),
            let owner = StartList.Owner(
                String(decoding: bytes[..<StartList.headBytes].prefix { $0 != 0 }, as: UTF8.self))
        else { return nil }
        self.owner = owner
        self.bytes = bytes
    }

    func unbegun() -> [AttemptID] {
        var pages: [UInt64: [UInt64]] = [:]
        var found: [AttemptID] = []
        for cell in 0..<StartList.cells {
            let word = (StartList.headBytes + cell * StartList.cellBytes) / 8
            let job = Self.word(word, of: bytes)
            guard job != 0, let grant = Int(exactly: Self.word(word + 1, of: bytes)) else { continue }
            let page = Self.word(word + 2, of: bytes)
            if page != 0 {
                let words = pages[page] ?? read(page)
                pages[page] = words
                guard Self.hasNotBegun(Self.word(word + 3, of: bytes), words) else { continue }
            }
            found.append(AttemptID(job: JobID(rawValue: job), grant: grant))
        }
        return found
    }

    private static func hasNotBegun(_ call: UInt64, _ page: [UInt64]) -> Bool {
        guard page.count == 3, page[0] == 1 else { return false }
        let isConcurrent = call & StartCell.besideOthers != 0
        return call & ~StartCell.besideOthers > page[isConcurrent ? 2 : 1]
    }

    private func read(_ page: UInt64) -> [UInt64] {
        guard let bytes = Self.read(String(page), StartPage.bytes, in: directory) else { return [] }
        return (0..<3).map { Self.word($0, of: bytes) }
    }

    private static func word(_ index: Int, of bytes: [UInt8]) -> UInt64 {
        bytes.withUnsafeBytes { $0.load(fromByteOffset: 8 * index, as: UInt64.self) }
    }

    /// A file of just so many bytes; nil for any other.
    private static func read(_ name: String, _ size: Int, in directory: CInt) -> [UInt8]? {
        guard let file = Descriptor(opening: name, in: directory, O_RDONLY | O_NOFOLLOW | O_NONBLOCK),
            let bytes = file.contents(atMost: size), bytes.count == size
        else { return nil }
        return bytes
    }
}
