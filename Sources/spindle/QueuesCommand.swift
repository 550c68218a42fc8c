import ArgumentParser
struct QueuesCommand: ParsableCommand { static let configuration = CommandConfiguration(commandName: "queues", abstract: "stub"); func run() throws {} }
