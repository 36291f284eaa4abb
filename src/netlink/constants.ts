/** Numbers of <linux/netlink.h>, <linux/rtnetlink.h>, <linux/if_link.h>, <linux/if_addr.h>, <linux/fib_rules.h>, <linux/genetlink.h>. */
export const NETLINK_ROUTE = 0
export const NETLINK_GENERIC = 16

export const GENL_ID_CTRL = 16
export const CTRL_CMD_NEWFAMILY = 1
export const CTRL_CMD_GETFAMILY = 3
export const CTRL_ATTR_FAMILY_ID = 1
export const CTRL_ATTR_FAMILY_NAME = 2
export const CTRL_ATTR_VERSION = 3
export const CTRL_ATTR_MCAST_GROUPS = 7
export const CTRL_ATTR_MCAST_GRP_NAME = 1
export const CTRL_ATTR_MCAST_GRP_ID = 2

export const NLMSG_NOOP = 1
export const NLMSG_ERROR = 2
export const NLMSG_DONE = 3
export const NLMSG_OVERRUN = 4

export const NLM_F_REQUEST = 0x1
export const NLM_F_MULTI = 0x2
export const NLM_F_ACK = 0x4
export const NLM_F_DUMP_INTR = 0x10
/** In an error: the request is not echoed. */
export const NLM_F_CAPPED = 0x100
/** In an error: attributes follow. */
export const NLM_F_ACK_TLVS = 0x200
export const NLM_F_DUMP = 0x300
export const NLM_F_REPLACE = 0x100
export const NLM_F_EXCL = 0x200
export const NLM_F_CREATE = 0x400

export const NLMSGERR_ATTR_MSG = 1

export const RTM_NEWLINK = 16
export const RTM_DELLINK = 17
export const RTM_GETLINK = 18
export const RTM_NEWADDR = 20
export const RTM_DELADDR = 21
export const RTM_GETADDR = 22
export const RTM_NEWROUTE = 24
export const RTM_DELROUTE = 25
export const RTM_GETROUTE = 26
export const RTM_NEWRULE = 32
export const RTM_DELRULE = 33
export const RTM_GETRULE = 34
export const RTM_NEWNEXTHOP = 104
export const RTM_DELNEXTHOP = 105
export const RTM_GETNEXTHOP = 106

export const AF_UNSPEC = 0
export const AF_INET = 2
export const AF_INET6 = 10

export const IFLA_ADDRESS = 1
export const IFLA_IFNAME = 3
export const IFLA_MTU = 4
export const IFLA_MASTER = 10
export const IFLA_OPERSTATE = 16
export const IFLA_LINKINFO = 18
export const IFLA_INFO_KIND = 1
export const IFF_UP = 0x1
export const IFF_LOOPBACK = 0x8
/** The interface has a carrier. */
export const IFF_LOWER_UP = 0x10000
/** Name with its final NUL: IFNAMSIZ. */
export const INTERFACE_NAME_BYTES = 16

export const IFA_ADDRESS = 1
export const IFA_LOCAL = 2
export const IFA_FLAGS = 8
/** The kernel adds no route for the prefix. */
export const IFA_F_NOPREFIXROUTE = 0x200
/** No duplicate address detection: usable at once. */
export const IFA_F_NODAD = 0x02

export const FRA_DST = 1
export const FRA_IIFNAME = 3
export const FRA_GOTO = 4
export const FRA_PRIORITY = 6
export const FRA_FWMARK = 10
export const FRA_TABLE = 15
export const FRA_FWMASK = 16
export const FRA_OIFNAME = 17
export const FRA_PROTOCOL = 21
export const FRA_IP_PROTO = 22
export const FRA_DPORT_RANGE = 24
/** Kernel 6.15. */
export const FRA_DPORT_MASK = 29
export const FR_ACT_TO_TBL = 1
export const FR_ACT_GOTO = 2
export const FR_ACT_NOP = 3
export const FIB_RULE_INVERT = 2

export const RTA_DST = 1
export const RTA_OIF = 4
export const RTA_GATEWAY = 5
export const RTA_PRIORITY = 6
export const RTA_PREFSRC = 7
export const RTA_TABLE = 15
export const RTA_NH_ID = 30

export const NHA_ID = 1
export const NHA_OIF = 5

/** What `ip route` shows without a table. */
export const RT_TABLE_MAIN = 254
export const RT_TABLE_LOCAL = 255
export const RTN_UNICAST = 1
export const RTN_LOCAL = 2
export const RTN_UNREACHABLE = 7
export const RTN_THROW = 9
export const RT_SCOPE_UNIVERSE = 0
export const RT_SCOPE_LINK = 253
export const RT_SCOPE_HOST = 254
/** Network managers leave alone what bears the kernel's own protocol number. */
export const RTPROT_KERNEL = 2

export const RTNLGRP_LINK = 1
export const RTNLGRP_IPV4_IFADDR = 5
export const RTNLGRP_IPV4_ROUTE = 7
export const RTNLGRP_IPV4_RULE = 8
export const RTNLGRP_IPV6_IFADDR = 9
export const RTNLGRP_IPV6_ROUTE = 11
export const RTNLGRP_IPV6_RULE = 19
export const RTNLGRP_NEXTHOP = 32
