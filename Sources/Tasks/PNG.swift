import CZlib
import JSON

/// A picture of palette indices as PNG, compressed by zlib.
///
/// Source: W3C, Portable Network Graphics (Third Edition).
func png(_ pixels: [UInt8], _ width: Int, _ height: Int) -> [UInt8] {
    var file: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
    var header: [UInt8] = []
    header.append(bigEndian: UInt32(width))
    header.append(bigEndian: UInt32(height))
    header += [8, 3, 0, 0, 0]  // 8 bits, palette, no interlacing
    file.append(chunk: "IHDR", header)
    file.append(chunk: "PLTE", palette)
    var rows: [UInt8] = []
    rows.reserveCapacity((width + 1) * height)
    for y in 0..<height {
        rows.append(0)  // no filter
        rows.append(contentsOf: pixels[y * width..<(y + 1) * width])
    }
    file.append(chunk: "IDAT", deflated(rows))
    file.append(chunk: "IEND", [])
    return file
}

/// Black for the set; outside of it a walk from blue over white to amber.
private let palette: [UInt8] = (0..<256).flatMap { index -> [UInt8] in
    guard index > 0 else { return [0, 0, 0] }
    let wave = Double(index) / 255 * 2
    let up = wave < 1 ? wave : 2 - wave
    return [UInt8(30 + 225 * up), UInt8(60 + 170 * up), UInt8(wave < 1 ? 120 + 135 * up : 20 + 200 * up)]
}

private func deflated(_ bytes: [UInt8]) -> [UInt8] {
    var size = compressBound(uLong(bytes.count))
    return [UInt8](unsafeUninitializedCapacity: Int(size)) { buffer, count in
        let code = compress2(buffer.baseAddress, &size, bytes, uLong(bytes.count), 6)
        count = code == Z_OK ? Int(size) : 0
    }
}

extension [UInt8] {
    fileprivate mutating func append(bigEndian value: UInt32) {
        for shift in [24, 16, 8, 0] as [UInt32] { append(UInt8(truncatingIfNeeded: value >> shift)) }
    }

    fileprivate mutating func append(chunk name: StaticString, _ content: [UInt8]) {
        append(bigEndian: UInt32(content.count))
        var body: [UInt8] = []
        body.append(name)
        body += content
        append(contentsOf: body)
        append(bigEndian: UInt32(crc32(0, body, uInt(body.count))))
    }
}

/// Base 64 with padding (RFC 4648, 4).
func base64(_ bytes: [UInt8]) -> String {
    let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var text: [UInt8] = []
    text.reserveCapacity((bytes.count + 2) / 3 * 4)
    var index = 0
    while index < bytes.count {
        let left = bytes.count - index
        let group =
            UInt32(bytes[index]) << 16 | UInt32(left > 1 ? bytes[index + 1] : 0) << 8
            | UInt32(left > 2 ? bytes[index + 2] : 0)
        text.append(digits[Int(group >> 18)])
        text.append(digits[Int(group >> 12 & 63)])
        text.append(left > 1 ? digits[Int(group >> 6 & 63)] : UInt8(ascii: "="))
        text.append(left > 2 ? digits[Int(group & 63)] : UInt8(ascii: "="))
        index += 3
    }
    return String(decoding: text, as: UTF8.self)
}
