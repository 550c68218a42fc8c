import EventLoop

/// The text of a file, whole; nil and errno when it cannot be read.
func readTextFile(_ path: String) -> String? { wholeFile(path).map { String(decoding: $0, as: UTF8.self) } }
