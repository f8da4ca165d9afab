# SPDX-License-Identifier: Apache-2.0
# One row by key out of files from ten thousand to ten million rows.
use strict;
use warnings;

use Bench::Column qw(WHO pivot);

my @ROWS = (10_000, 100_000, 1_000_000, 10_000_000);
my @WHO  = qw(bare connpool mod_dbd);
# A row takes 42 bytes; making it takes as much again for a moment.
my $BYTES_A_ROW = 100;

# Those that are small enough for this run and this disk; sentences about others.
sub sizes {
    my ($run) = @_;
    my ($world, @sizes, @notes) = ($run->world);
    for my $rows (@ROWS) {
        my $needs = $rows * $BYTES_A_ROW;
        if ($rows > $world->rows_max) {
            push @notes, "$rows rows are left out: BENCH_ROWS_MAX is " . $world->rows_max . '.';
        }
        elsif (!$world->has($rows) && $world->free_bytes < $needs) {
            push @notes, "$rows rows are left out: they need $needs bytes of disk.";
        }
        else {
            $run->say("rows: a file of $rows rows") if !$world->has($rows);
            $world->database($rows);
            push @sizes, $rows;
        }
    }
    return (\@sizes, \@notes);
}

return {
    title   => 'One row by key, out of files of 10^4 to 10^7 rows',
    about   => '32 clients with random keys: CPU in us a request, then requests a second. The caches of '
        . 'mod_connpool are 512 KB a connection, those of the others 2 MB (SQLite\'s default).',
    columns => [
        WHO,
        (map { ["cpu_us_$_", ($_ == $ROWS[0] ? 'CPU: ' : '') . '10^' . (length($_) - 1), '%.0f'] } @ROWS),
        (map { ["per_second_$_", ($_ == $ROWS[0] ? 'rate: ' : '') . '10^' . (length($_) - 1), '%.0f'] } @ROWS),
    ],
    run => sub {
        my ($run) = @_;
        my ($sizes, $notes) = sizes($run);
        my @cases;
        for my $name ($run->present(@WHO)) {
            push @cases, map {
                {contender => $run->contender($name, rows => $_), kind => 'one', clients => 32, rows => $_}
            } @$sizes;
        }
        my $rows = $run->compare(\@cases, seconds => 0.25, warm => 0.2);
        $run->release($_->{contender}) for @cases;
        return {rows => pivot($rows, 'rows', ['contender']), notes => $notes};
    },
};
