import ArgumentParser
struct TasksCommand: ParsableCommand { static let configuration = CommandConfiguration(commandName: "tasks", abstract: "stub"); func run() throws {} }
