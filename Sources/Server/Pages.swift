import CDashboard
import EventLoop
import HTTP

/// The dashboard's files: the copy inside the binary, or a directory that is read anew for each request.
struct Pages {
    private static let maximumBytes = 4 * 1024 * 1024
    private let builtIn: [String: Response]
    private let directory: String?

    init(directory: String?) {
        self.directory = directory
        var pages: [String: Response] = [:]
        for index in 0..<dashboard_file_count {
            let file = dashboard_file_at(index)!.pointee
            let body = Array(UnsafeBufferPointer(start: file.bytes, count: file.count))
            let path = String(cString: file.path)
            pages[path] = Response(200, Self.contentType(of: path), body)
        }
        builtIn = pages
    }

    /// The paths that need no token: the page holds no data.
    var paths: [String] { Array(builtIn.keys) }

    func page(_ path: String) -> Response? {
        guard let known = builtIn[path] else { return nil }
        guard let directory else { return known }
        // Only names of the built-in copy are served: no path of a request reaches the file system.
        guard let body = wholeFile(directory + (path == "/" ? "/index.html" : path), atMost: Self.maximumBytes) else {
            return nil
        }
        return Response(200, Self.contentType(of: path), body)
    }

    private static func contentType(of path: String) -> StaticString {
        if path.ends(with: ".css") { return "text/css; charset=utf-8" }
        if path.ends(with: ".js") { return "text/javascript; charset=utf-8" }
        if path.ends(with: ".svg") { return "image/svg+xml" }
        return "text/html; charset=utf-8"
    }
}
