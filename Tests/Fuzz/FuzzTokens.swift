/// Whatever stands in a token file: it is read or refused with its line, no token may do more than its line says, and a plain
/// reading says the same.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzTokens(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let text = Array(UnsafeBufferPointer(start: bytes, count: count))
    let lines = text.split(separator: 0x0A, omittingEmptySubsequences: false)
    do throws(Tokens.Failure) {
        let tokens = try Tokens(text: text, path: "f")
        var plain: [(secret: String, scope: String)] = []
        for line in lines {
            let words = String(decoding: line, as: UTF8.self).unicodeScalars.split {
                $0 == " " || $0 == "\t" || $0 == "\r"
            }
            .map { String(String.UnicodeScalarView($0)) }.prefix { $0.utf8.first != UInt8(ascii: "#") }
            if let secret = words.first { plain.append((secret, words.count > 1 ? words[1] : "admin")) }
        }
        precondition(tokens.all.map(\.text) == plain.map(\.secret), "other tokens than are there")
        precondition(tokens.all.map(\.scope.name) == plain.map(\.scope), "another scope than stands there")
        precondition(Set(tokens.all.map(\.text)).count == tokens.all.count, "one token twice")
        for token in tokens.all {
            precondition(token.text.utf8.count >= 32, "a token that can be guessed")
            precondition(tokens.find(Array(token.text.utf8))?.line == token.line, "a token is not found")
            let part = Array(token.text.utf8.dropLast())
            precondition(
                tokens.find(part).map { Array($0.text.utf8) } ?? part == part, "part of a token is taken for it")
        }
    } catch {
        let number = error.description.split(separator: " ").dropFirst(2).first?.prefix { $0 != ":" }
        precondition((1...lines.count).contains(number.flatMap { Int($0) } ?? 0), "no line is to blame")
    }
    return 0
}
