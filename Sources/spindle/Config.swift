import ArgumentParser
import JSON
import Pools

struct Config: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows the configuration in force and where each value came from.",
        discussion: """
            Example:  SPINDLE_THREADS=8 spindle config --config spindle.toml
            Takes the flags of spindle serve, shows what they come to, and then checks it as serve would: exit 2 when no
            server could start so. Makes nothing.
            """)

    @OptionGroup var flags: ServeFlags
    @Flag(help: "Print as JSON.") var json = false

    func run() throws {
        let settings = try Settings(flags: flags.given, file: flags.config ?? environment("SPINDLE_CONFIG"))
        show(settings)
        _ = try ServerSetup(settings, isTrial: true)
    }

    private func show(_ settings: Settings) {
        if json {
            let members = Setting.allCases.map { setting in
                let value = settings.values[setting]
                return JSONValue.Member(
                    setting.rawValue,
                    [
                        "value": .array((value?.texts ?? []).map(JSONValue.string)),
                        "from": .string(value?.origin ?? "default"),
                    ])
            }
            return emit(String(decoding: JSONValue.object(members + tables(settings)).bytes, as: UTF8.self))
        }
        var table = Table("SETTING", "VALUE", "FROM")
        for setting in Setting.allCases {
            guard let value = settings.values[setting] else { continue }
            table.add(setting.rawValue, value.texts.isEmpty ? "-" : value.texts.joined(separator: ", "), value.origin)
        }
        let file = settings.path ?? ""
        for command in settings.commands {
            table.add("commands.\(command.name)", command.description, "\(file): commands.\(command.name)")
        }
        for worker in settings.workers {
            table.add(worker.name, worker.argv.joined(separator: " "), "\(file): \(worker.name)")
        }
        emit(table.text)
    }

    /// What the file's tables say, in the same form.
    private func tables(_ settings: Settings) -> [JSONValue.Member] {
        let file = settings.path ?? ""
        func member(_ name: String, _ texts: [String]) -> JSONValue.Member {
            JSONValue.Member(
                name, ["value": .array(texts.map(JSONValue.string)), "from": .string("\(file): \(name)")])
        }
        return settings.commands.map { member("commands.\($0.name)", [$0.description]) }
            + settings.workers.map { member($0.name, $0.argv) }
    }
}
