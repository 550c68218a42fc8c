import EventLoop
import HTTPClient
import JSON
import Jobs
import Pools

/// What the built-in tasks need to know of their surroundings.
package struct TaskOptions: Sendable {
    /// What `hash` may read.
    package var filesRoot = "."
    /// What `fetch` may reach beyond the public internet.
    package var fetchAllows: [AddressRules.Range] = []
    /// Whether there is the task `fault`.
    package var hasFaults = false

    package init() {}
}

/// The tasks that come with Spindle, each in a file of its own.
///
/// - Parameter loop: Where `fetch` runs; nil in a worker process, which has no loop and is never asked to.
package func builtInTasks(_ options: TaskOptions, on loop: EventLoop?) -> [TaskDefinition] {
    var tasks = [
        squaresTask(), primesTask(), piTask(), mandelbrotTask(), burnTask(), hashTask(root: options.filesRoot),
        sleepTask(),
        fetchTask(AddressRules(allowed: options.fetchAllows), on: loop),
    ]
    if options.hasFaults { tasks.append(faultTask()) }
    return tasks
}

/// A schema written in the program itself: a mistake in it is a bug.
func schema(_ source: JSONValue) -> JSONSchema {
    do throws(SchemaError) {
        return try JSONSchema(source)
    } catch {
        preconditionFailure("\(error)")
    }
}

/// `{"name":value,…}` as one line of JSON.
func object(_ members: KeyValuePairs<String, JSONValue>) -> [UInt8] {
    JSONValue.object(members.map { JSONValue.Member($0.key, $0.value) }).bytes
}

/// The property `name` of an input that its schema has checked; its default when it was left out.
func integer(_ name: String, of input: JSONValue, or standard: Int) -> Int { input[name]?.integer ?? standard }
