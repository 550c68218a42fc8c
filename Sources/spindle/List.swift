import ArgumentParser
struct List: ParsableCommand { static let configuration = CommandConfiguration(abstract: "stub"); func run() throws {} }
