import Glibc

/// Text as a terminal may be given it, whoever has said it: colours (SGR), line feeds and tabs are kept, every other control
/// character is shown as `\u001b`, which is what JSON calls it. Nothing moves the cursor, sets a title, or asks the terminal.
func shownOnTerminal(_ text: String) -> String {
    let scalars = Array(text.unicodeScalars)
    var shown = String.UnicodeScalarView()
    var isColoured = false
    var index = 0
    while index < scalars.count {
        let scalar = scalars[index]
        if let end = endOfColour(scalars, from: index) {
            shown.append(contentsOf: scalars[index..<end])
            isColoured = true
            index = end
            continue
        }
        switch scalar.value {
        case 0x0A, 0x09: shown.append(scalar)
        case 0..<0x20, 0x7F..<0xA0:
            let digits = String(scalar.value, radix: 16)
            shown.append(contentsOf: "\\u\(String(repeating: "0", count: 4 - digits.count))\(digits)".unicodeScalars)
        default: shown.append(scalar)
        }
        index += 1
    }
    // What comes next is somebody else's.
    return String(shown) + (isColoured ? "\u{1B}[0m" : "")
}

/// One past a sequence that selects a graphic rendition, if one begins here. Source: ECMA-48, 8.3.117.
private func endOfColour(_ scalars: [Unicode.Scalar], from start: Int) -> Int? {
    guard scalars[start] == "\u{1B}", start + 1 < scalars.count, scalars[start + 1] == "[" else { return nil }
    var index = start + 2
    while index < scalars.count, "0123456789;:".unicodeScalars.contains(scalars[index]) { index += 1 }
    return index < scalars.count && scalars[index] == "m" ? index + 1 : nil
}
