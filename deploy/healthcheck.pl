# Whether something that speaks ZeroMQ's protocol answers at an address within two seconds:
#
#   perl healthcheck.pl HOST PORT
#
# Perl, because every Debian image has it. ZeroMQ greets first, with 0xff, 8 bytes and 0x7f.
use strict;
use warnings;
use IO::Socket::INET;

alarm 2;
my ($host, $port) = @ARGV;
my $peer = IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port)
    or die "$host:$port: $@\n";
my $greeting = '';
while (length $greeting < 10) {
    my $more = sysread $peer, $greeting, 10 - length $greeting, length $greeting;
    die "$host:$port does not greet\n" unless $more;
}
die "$host:$port does not speak ZeroMQ\n" unless $greeting =~ /^\xff.{8}\x7f$/s;
