/// First in, first out, in amortised constant time.
struct FIFO<Element>: Sequence {
    private var elements: [Element] = []
    private var head = 0

    var count: Int { elements.count - head }
    var isEmpty: Bool { head == elements.count }
    var first: Element? { isEmpty ? nil : elements[head] }

    mutating func append(_ element: Element) { elements.append(element) }

    mutating func popFirst() -> Element? {
        guard head < elements.count else { return nil }
        let element = elements[head]
        head += 1
        if head == elements.count {
            elements.removeAll(keepingCapacity: elements.capacity <= 4096)
            head = 0
        } else if head >= 4096, head * 2 >= elements.count {
            // Into memory of its own size: a peak is not kept for ever.
            elements = Array(elements[head...])
            head = 0
        }
        return element
    }

    /// Drops those that do not fulfil a condition.
    mutating func keep(where isKept: (Element) -> Bool) {
        elements = elements[head...].filter(isKept)
        head = 0
    }

    /// How many elements at the beginning fulfil a condition that no later one does: by binary search.
    func count(while isBefore: (Element) -> Bool) -> Int {
        var low = head
        var high = elements.count
        while low < high {
            let middle = (low + high) / 2
            if isBefore(elements[middle]) { low = middle + 1 } else { high = middle }
        }
        return low - head
    }

    func makeIterator() -> IndexingIterator<ArraySlice<Element>> { elements[head...].makeIterator() }
}
