import ArgumentParser
struct PoolsCommand: ParsableCommand { static let configuration = CommandConfiguration(commandName: "pools", abstract: "stub"); func run() throws {} }
