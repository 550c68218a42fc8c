/// Whatever the bytes: items or a refusal; and what was read, written with every byte escaped, reads as the same.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzQuery(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let text = String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
    guard let query = try? QueryItems(text) else { return 0 }
    precondition(Set(query.items.map(\.name)).count == query.items.count, "one name, two items")
    let written = query.items.map { escaped($0.name) + "=" + escaped($0.value) }.joined(separator: "&")
    guard let again = try? QueryItems(written) else { fatalError("what was written cannot be read") }
    precondition(again.items.count == query.items.count, "items were lost or found")
    for (left, right) in zip(again.items, query.items) {
        precondition(left.name.utf8.elementsEqual(right.name.utf8), "a name became another")
        precondition(left.value.utf8.elementsEqual(right.value.utf8), "a value became another")
    }
    // A reader that knows nothing of ours: by characters, with the standard library's own numbers.
    precondition(query.items.map(\.value) == slowly(text), "a plain reading says something else")
    return 0
}

private func escaped(_ text: String) -> String {
    text.utf8.map { "%" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}

private func slowly(_ text: String) -> [String] {
    text.unicodeScalars.split(separator: "&").map { pair in
        let value = Array(String(String.UnicodeScalarView(pair.drop { $0 != "=" }.dropFirst())).utf8)
        var bytes: [UInt8] = []
        var index = 0
        while index < value.count {
            let digits = value[min(index + 1, value.count)..<min(index + 3, value.count)]
            let isHex = digits.allSatisfy { Character(Unicode.Scalar($0)).isHexDigit }
            if value[index] == 0x25, digits.count == 2, isHex {
                bytes.append(UInt8(String(decoding: digits, as: UTF8.self), radix: 16)!)
                index += 3
            } else {
                bytes.append(value[index] == 0x2B ? 0x20 : value[index])
                index += 1
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
