import ArgumentParser
struct Cancel: ParsableCommand { static let configuration = CommandConfiguration(abstract: "stub"); func run() throws {} }
