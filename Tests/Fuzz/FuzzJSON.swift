/// Whatever the bytes: a value or an error, and a value that is written reads back as itself.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzJSON(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let text = Array(UnsafeBufferPointer(start: bytes, count: count))
    guard let value = try? JSONReader.value(of: text) else { return 0 }
    guard let again = try? JSONReader.value(of: value.bytes) else { fatalError("what was written cannot be read") }
    // By their text: 25e2 is written as 2500, and read back as a whole number.
    precondition(again.bytes == value.bytes, "what was written reads back as something else")
    guard let line = try? JSONReader.value(of: onOneLine(text)) else { fatalError("one line cannot be read") }
    precondition(line == value, "one line means something else")
    return 0
}
