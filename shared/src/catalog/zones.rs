//! The zones that a provider can run in: ISO 3166-1 alpha-3 codes, and `WOR` for the world.

/// The zone of providers of which nothing is said.
pub const WORLD: &str = "WOR";

/// Every code, `WOR` first.
pub fn all() -> impl Iterator<Item = &'static str> {
    CODES.split_whitespace()
}

/// Whether a code is that of a zone.
#[must_use]
pub fn is_known(code: &str) -> bool {
    all().any(|known| known == code)
}

const CODES: &str = "WOR \
    ABW AFG AGO AIA ALA ALB AND ARE ARG ARM ASM ATA ATF ATG AUS AUT AZE BDI BEL BEN BES BFA BGD BGR BHR BHS \
    BIH BLM BLR BLZ BMU BOL BRA BRB BRN BTN BVT BWA CAF CAN CCK CHE CHL CHN CIV CMR COD COG COK COL COM CPV \
    CRI CUB CUW CXR CYM CYP CZE DEU DJI DMA DNK DOM DZA ECU EGY ERI ESH ESP EST ETH FIN FJI FLK FRA FRO FSM \
    GAB GBR GEO GGY GHA GIB GIN GLP GMB GNB GNQ GRC GRD GRL GTM GUF GUM GUY HKG HMD HND HRV HTI HUN IDN IMN \
    IND IOT IRL IRN IRQ ISL ISR ITA JAM JEY JOR JPN KAZ KEN KGZ KHM KIR KNA KOR KWT LAO LBN LBR LBY LCA LIE \
    LKA LSO LTU LUX LVA MAC MAF MAR MCO MDA MDG MDV MEX MHL MKD MLI MLT MMR MNE MNG MNP MOZ MRT MSR MTQ MUS \
    MWI MYS MYT NAM NCL NER NFK NGA NIC NIU NLD NOR NPL NRU NZL OMN PAK PAN PCN PER PHL PLW PNG POL PRI PRK \
    PRT PRY PSE PYF QAT REU ROU RUS RWA SAU SDN SEN SGP SGS SHN SJM SLB SLE SLV SMR SOM SPM SRB SSD STP SUR \
    SVK SVN SWE SWZ SXM SYC SYR TCA TCD TGO THA TJK TKL TKM TLS TON TTO TUN TUR TUV TWN TZA UGA UKR UMI URY \
    USA UZB VAT VCT VEN VGB VIR VNM VUT WLF WSM YEM ZAF ZMB ZWE \
    ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_complete_and_unique() {
        let unique: std::collections::HashSet<_> = all().collect();
        assert_eq!((all().count(), unique.len()), (250, 250));
        assert!(all().all(|code| code.len() == 3));
        assert!(is_known(WORLD) && is_known("FRA") && !is_known("fra") && !is_known("EEE"));
    }
}
