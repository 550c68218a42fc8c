import HTTP

/// Finds who answers a request.
struct Router {
    let routes: [Route]

    enum Finding {
        case route(Route, argument: String)
        /// The address exists, but not for this method.
        case otherMethods([Method])
        case nothing
    }

    func find(_ head: RequestHead) -> Finding {
        let method = head.method == .head ? .get : head.method
        return head.withPath { path in
            var others: [Method] = []
            for route in routes {
                guard let range = route.match(path) else { continue }
                if route.method == method {
                    return .route(route, argument: String(decoding: path[range], as: UTF8.self))
                }
                if others.contains(route.method) { continue }
                if let exists = route.exists, !exists(String(decoding: path[range], as: UTF8.self)) { continue }
                others.append(route.method)
            }
            return others.isEmpty ? .nothing : .otherMethods(others)
        }
    }
}
