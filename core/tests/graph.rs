//! The graph algorithms over a store of a few lines: points on a line, with the links that a test gives them.

use hashbrown::HashSet;
use walia_core::graph::{
    Candidate, EntryPoint, Expanded, LayerSearch, Neighbours, NodeStore, Purpose, choose_neighbours, descend,
    draw_level, level_of,
};
use walia_core::types::{ElementType, HeapTid, MAX_LEVEL, Metric, Parameters, Result};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Node i lies at `points[i]`; `links[layer][i]` are its neighbours.
struct Line {
    points: Vec<f64>,
    links: Vec<Vec<Vec<u32>>>,
    tombstones: Vec<u32>,
    query: f64,
    /// Whether neighbours are known by estimates, which here are right.
    estimates: bool,
    /// Whether those at the limit or further are left out.
    keeps_limit: bool,
}

impl Line {
    /// `len` points from 0 on, each linked to the next and the one before.
    fn chain(len: u32, query: f64) -> Self {
        let links = (0..len)
            .map(|i| [i.checked_sub(1), (i + 1 < len).then_some(i + 1)].into_iter().flatten().collect())
            .collect();
        let points = (0..len).map(f64::from).collect();
        Self {
            points,
            links: vec![links],
            tombstones: Vec::new(),
            query,
            estimates: false,
            keeps_limit: false,
        }
    }

    fn candidate(&self, node: u32) -> Candidate<u32> {
        let distance = (self.points[node as usize] - self.query).abs();
        Candidate::new(distance, node)
    }

    fn search(&self, resumable: bool) -> LayerSearch<Self> {
        LayerSearch::new(HashSet::new(), Purpose::Scan { resumable })
    }
}

impl NodeStore for Line {
    type Node = u32;
    type Visited = HashSet<u32>;

    fn entry_point(&self) -> Result<Option<EntryPoint<u32>>> {
        Ok((!self.points.is_empty()).then_some(EntryPoint { node: 0, level: self.links.len() as u8 - 1 }))
    }

    fn expand(
        &self,
        candidate: Candidate<u32>,
        layer: u8,
        limit: Option<f64>,
        visited: &mut HashSet<u32>,
        found: &mut Vec<Candidate<u32>>,
    ) -> Result<Expanded<u32>> {
        for neighbour in &self.links[usize::from(layer)][candidate.node as usize] {
            if self.estimates {
                let distance = self.candidate(*neighbour).distance;
                if !self.keeps_limit || limit.is_none_or(|limit| distance < limit) {
                    found.push(Candidate::estimate(distance, 0.0, *neighbour));
                }
            } else if visited.insert(*neighbour) {
                found.push(self.candidate(*neighbour));
            }
        }
        let node = self.candidate(candidate.node);
        let dead = self.tombstones.contains(&node.node);
        Ok(if dead { Expanded::Tombstone(node) } else { Expanded::Live(node) })
    }
}

fn nodes<'a>(candidates: impl IntoIterator<Item = &'a Candidate<u32>>) -> Vec<u32> {
    candidates.into_iter().map(|candidate| candidate.node).collect()
}

fn run_to_the_end(line: &Line, ef: usize) -> Vec<u32> {
    let mut search = line.search(true);
    let mut given = nodes(&search.run(line, &[line.candidate(0)], 0, ef).unwrap());
    loop {
        let more = search.resume(line, 0, ef).unwrap();
        if more.is_empty() {
            return given;
        }
        assert!(more.len() <= ef);
        given.extend(nodes(&more));
    }
}

#[test]
fn a_search_returns_the_nearest_in_order() {
    let line = Line::chain(100, 40.2);
    let found = line.search(false).run(&line, &[line.candidate(0)], 0, 5).unwrap();
    assert_eq!(nodes(&found), [40, 41, 39, 42, 38]);
}

#[test]
fn a_search_for_a_known_distance_ends_where_it_is() {
    let mut line = Line::chain(100, 40.0);
    let mut search = line.search(false);
    let found = search.run_until(&line, &[line.candidate(0)], 0, 32, 0.0).unwrap();
    assert_eq!((found[0].node, search.stats.expanded), (40, 41));
    // A tombstone is not what it looks for.
    line.tombstones = vec![40];
    let found = line.search(false).run_until(&line, &[line.candidate(0)], 0, 32, 0.0).unwrap();
    assert_eq!(found.len(), 32);
}

#[test]
fn a_resumed_search_returns_every_node_once() {
    for ef in [1, 2, 7, 100] {
        let line = Line::chain(60, 17.6);
        let mut given = run_to_the_end(&line, ef);
        assert_eq!(given[0], 18);
        given.sort_unstable();
        assert_eq!(given, (0..60).collect::<Vec<_>>(), "ef {ef}");
    }
}

#[test]
fn tombstones_are_walked_through_and_not_returned() {
    for ef in [1, 3, 10] {
        let mut line = Line::chain(60, 30.0);
        // Longer than ef, so that whole rounds meet nothing else; the entry point is one of them.
        line.tombstones = (0..10).chain(20..40).collect();
        let mut given = run_to_the_end(&line, ef);
        given.sort_unstable();
        assert_eq!(given, (10..20).chain(40..60).collect::<Vec<_>>(), "ef {ef}");
    }
}

#[test]
fn a_search_among_tombstones_alone_ends() {
    let mut line = Line::chain(20, 7.0);
    line.tombstones = (0..20).collect();
    assert_eq!(run_to_the_end(&line, 4), []);
}

/// Points of which many are equal and some are not numbers, each linked to many others, so that nearly all
/// that an open search finds is further than what it expands next.
fn far_flung(estimates: bool) -> Line {
    let len = 3000;
    let mut random = (0..).map(|i: u64| xxh3_64_with_seed(&i.to_le_bytes(), 7));
    let mut random = |below: u64| random.next().unwrap() % below;
    let points = (0..len).map(|_| if random(50) == 0 { f64::NAN } else { random(1000) as f64 }).collect();
    let links = (0..len)
        .map(|node| (0..20).map(|_| random(u64::from(len)) as u32).chain([(node + 1) % len]).collect())
        .collect();
    Line { points, links: vec![links], estimates, ..Line::chain(0, 400.3) }
}

#[test]
fn an_open_search_expands_every_node_once_and_the_nearest_first() {
    for (estimates, ef, beam) in [(false, 1, 1), (true, 1, 1), (true, 40, 1), (true, 40, 8)] {
        let line = far_flung(estimates);
        let mut search = line.search(true);
        search.walk_from(&line, &[line.candidate(0)], 0, ef).unwrap();
        let mut given = search.open().unwrap();
        assert!(given.len() < 300, "the first search has expanded {}", given.len());
        let mut known: HashSet<u32> =
            given.iter().flat_map(|candidate| line.links[0][candidate.node as usize].clone()).collect();
        while search.choose_within(beam, None).unwrap() > 0 {
            given.iter().for_each(|candidate| {
                known.remove(&candidate.node);
            });
            let mut nearest: Vec<f64> = known.iter().map(|node| line.candidate(*node).distance).collect();
            nearest.sort_unstable_by(f64::total_cmp);
            search.expand(&line, 0, usize::MAX, None).unwrap();
            let mut expanded = search.take_expanded();
            expanded.sort_unstable();
            for (candidate, nearest) in expanded.iter().zip(nearest) {
                assert_eq!(candidate.distance.to_bits(), nearest.to_bits());
                known.extend(&line.links[0][candidate.node as usize]);
            }
            given.extend(expanded);
        }
        let mut given = nodes(&given);
        given.sort_unstable();
        assert_eq!(given, (0..3000).collect::<Vec<_>>(), "{estimates} {ef} {beam}");
    }
}

#[test]
fn an_open_search_remembers_no_node_many_times() {
    let mut line = Line::chain(4000, 10.0);
    (line.links[0], line.estimates) = (vec![(0..4000).collect(); 4000], true);
    let mut search = line.search(true);
    search.walk_from(&line, &[line.candidate(0)], 0, 1).unwrap();
    let mut given = search.open().unwrap().len();
    while search.choose_within(8, None).unwrap() > 0 {
        search.expand(&line, 0, usize::MAX, None).unwrap();
        given += search.take_expanded().len();
        assert!(search.remembered() < 110_000, "{} after {given} nodes", search.remembered());
        if given > 2000 {
            search.shrink();
            assert!(search.remembered() < 14_000, "{} after {given} nodes", search.remembered());
        }
    }
    assert_eq!(given, 4000);
}

#[test]
fn an_insertion_needs_no_candidates_beyond_its_limit() {
    for ef in (1..=130).step_by(3) {
        let mut line = far_flung(true);
        let run = |line: &Line| {
            let mut search = LayerSearch::new(HashSet::new(), Purpose::Insertion);
            let found = search.run(line, &[Candidate::unknown(0)], 0, ef).unwrap();
            (nodes(&found), search.stats.expanded, search.stats.estimates)
        };
        let (found, expanded, estimates) = run(&line);
        line.keeps_limit = true;
        let (found_within, expanded_within, estimates_within) = run(&line);
        assert_eq!((found, expanded), (found_within, expanded_within), "ef {ef}");
        assert!(estimates_within < estimates, "ef {ef}: {estimates_within} of {estimates}");
    }
}

#[test]
fn distances_that_are_not_numbers_come_last_and_do_not_widen_the_search() {
    let mut line = Line::chain(1000, 0.0);
    line.points[3..].fill(f64::NAN);
    let mut search = line.search(false);
    let found = search.run(&line, &[line.candidate(5)], 0, 4).unwrap();
    assert_eq!(nodes(&found), [0, 1, 2, 3]);
    assert!(search.stats.expanded < 20, "{:?}", search.stats);
}

#[test]
fn equal_distances_do_not_widen_the_search() {
    let mut line = Line::chain(1000, 0.0);
    line.points.fill(1.0);
    let mut search = line.search(false);
    assert_eq!(search.run(&line, &[line.candidate(500)], 0, 4).unwrap().len(), 4);
    assert!(search.stats.expanded < 20, "{:?}", search.stats);
}

#[test]
fn the_way_may_lead_through_a_node_as_near_as_the_last_result() {
    let links = vec![vec![vec![1, 2], vec![], vec![3], vec![]]];
    let line = Line { points: vec![2.0, 2.0, 2.0, 0.0], links, ..Line::chain(0, 0.0) };
    let found = line.search(false).run(&line, &[line.candidate(0)], 0, 2).unwrap();
    assert_eq!(nodes(&found), [3, 0]);
}

#[test]
fn the_descent_enters_a_layer_at_the_node_nearest_above() {
    let mut line = Line::chain(100, 73.0);
    let mut express = vec![Vec::new(); 100];
    for stop in (0..90).step_by(10) {
        express[stop].push(stop as u32 + 10);
    }
    line.links.push(express);
    let entry = line.entry_point().unwrap().unwrap();
    let mut search = line.search(false);
    assert_eq!(nodes(&descend(&line, &mut search, entry, 0).unwrap()), [70]);
    assert_eq!(nodes(&descend(&line, &mut search, entry, 1).unwrap()), [0]);
}

fn distance_on_a_line(points: &[f64]) -> impl Fn(u32, u32) -> Result<f64> {
    |a, b| Ok((points[a as usize] - points[b as usize]).abs())
}

fn nearer_on_a_line(points: &[f64]) -> impl Fn(&Candidate<u32>, u32) -> Result<bool> {
    |candidate, node| Ok((points[candidate.node as usize] - points[node as usize]).abs() <= candidate.distance)
}

/// Candidates around a node at 0, nearest first.
fn around_zero(points: &[f64]) -> Vec<Candidate<u32>> {
    let mut candidates: Vec<_> =
        (0..).zip(points).map(|(node, point)| Candidate::new(point.abs(), node)).collect();
    candidates.sort();
    candidates
}

#[test]
fn neighbours_spread_over_directions() {
    // Many on one side, one further away on the other.
    let points = [1.0, 1.1, 1.2, 1.3, -5.0];
    let chosen = Neighbours::select(&around_zero(&points), 2, distance_on_a_line(&points)).unwrap();
    assert_eq!(nodes(chosen.iter()), [0, 4]);
}

#[test]
fn free_places_are_filled_with_the_nearest_pruned() {
    let points = [1.0, 1.1, 1.2, 1.3, -5.0];
    let candidates = around_zero(&points);
    let chosen = Neighbours::select(&candidates, 4, distance_on_a_line(&points)).unwrap();
    assert_eq!(nodes(&chosen.diverse), [0, 4]);
    assert_eq!(nodes(&chosen.pruned), [1, 2]);
    assert_eq!(Neighbours::select(&candidates, 9, distance_on_a_line(&points)).unwrap().len(), 5);
    assert!(Neighbours::<u32>::select(&[], 4, |_, _| Ok(0.0)).unwrap().is_empty());
}

#[test]
fn one_more_candidate_finds_its_place() {
    let points = [2.0, 2.5, -3.0, -4.0, 1.0, 6.0, -0.5];
    let (distance, is_nearer) = (distance_on_a_line(&points), nearer_on_a_line(&points));
    let mut neighbours = Neighbours::select(&around_zero(&points[..4]), 4, &distance).unwrap();
    assert_eq!((nodes(&neighbours.diverse), nodes(&neighbours.pruned)), (vec![0, 2], vec![1, 3]));
    // A nearer one makes 0 pruned, and the furthest pruned leaves.
    neighbours.offer(Candidate::new(1.0, 4), 4, &is_nearer).unwrap();
    assert_eq!((nodes(&neighbours.diverse), nodes(&neighbours.pruned)), (vec![4, 2], vec![0, 1]));
    // One that is further and not diverse is not taken, as long as there are nearer ones.
    neighbours.offer(Candidate::new(6.0, 5), 4, &is_nearer).unwrap();
    assert_eq!((nodes(&neighbours.diverse), nodes(&neighbours.pruned)), (vec![4, 2], vec![0, 1]));
    // The same in the other direction, in a list that is shorter now.
    neighbours.pruned.clear();
    neighbours.offer(Candidate::new(0.5, 6), 2, &is_nearer).unwrap();
    assert_eq!((nodes(&neighbours.diverse), nodes(&neighbours.pruned)), (vec![6, 4], vec![]));
}

#[test]
fn offers_one_by_one_give_what_a_choice_of_all_gives() {
    // Where nothing becomes pruned afterwards the two are the same: candidates that come nearest first.
    let points = [1.0, -1.5, 2.0, 2.5, -4.0, 7.0, -9.0, 20.0];
    let candidates = around_zero(&points);
    for max in 1..=8 {
        let at_once = Neighbours::select(&candidates, max, distance_on_a_line(&points)).unwrap();
        let mut offered = Neighbours { diverse: Vec::new(), pruned: Vec::new() };
        for candidate in &candidates {
            offered.offer(*candidate, max, nearer_on_a_line(&points)).unwrap();
            assert!(offered.len() <= max);
        }
        assert_eq!(nodes(&offered.diverse), nodes(&at_once.diverse), "max {max}");
        assert_eq!(nodes(&offered.pruned), nodes(&at_once.pruned), "max {max}");
    }
}

const PARAMETERS: Parameters = Parameters::plain(1, ElementType::F32, Metric::L2, 2, 10);

#[test]
fn the_first_node_has_no_neighbours() {
    let line = Line::chain(0, 1.0);
    let chosen =
        choose_neighbours(&line, &mut line.search(false), &PARAMETERS, 3, |_| true, |_, _| Ok(0.0)).unwrap();
    assert!(chosen.layers.is_empty() && chosen.nearest.is_empty());
}

#[test]
fn neighbours_are_live_and_accepted() {
    let mut line = Line::chain(50, 25.0);
    line.tombstones = vec![25, 26];
    let points = line.points.clone();
    let chosen = choose_neighbours(
        &line,
        &mut line.search(false),
        &PARAMETERS,
        3,
        |node| node != 24,
        distance_on_a_line(&points),
    )
    .unwrap();
    // The graph has layer 0 only.
    assert_eq!(chosen.layers.len(), 1);
    assert_eq!(nodes(chosen.layers[0].iter()), [23, 27, 22, 28]);
    assert_eq!(nodes(&chosen.nearest), [23, 27, 22, 28, 21, 29, 20, 30, 19]);
}

#[test]
fn levels_fall_off_by_m() {
    assert_eq!(draw_level(u64::MAX, 16), 0);
    assert_eq!(draw_level(0, 2), MAX_LEVEL);
    for m in [2, 16, 100] {
        let mut by_level = [0_u32; MAX_LEVEL as usize + 1];
        for block in 0..10_000 {
            for offset in 1..=20 {
                by_level[usize::from(level_of(HeapTid::new(block, offset), m))] += 1;
            }
        }
        let above: u32 = by_level[1..].iter().sum();
        let expected = 200_000.0 / f64::from(m);
        // Five standard deviations of a binomial distribution.
        assert!(
            (f64::from(above) - expected).abs() < 5.0 * expected.sqrt(),
            "m {m}: {above}, not {expected}"
        );
    }
}
